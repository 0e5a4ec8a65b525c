"""Captions: what is in a picture, in a sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from rnnjax._checks import check_choice, check_positive_int, check_rate
from rnnjax.experiments.data.captions import (
    Captioned,
    CaptionSource,
    Sentences,
    caption_batches,
    caption_vocabulary,
    open_captioned_pictures,
    synthetic_pictures,
)
from rnnjax.experiments.data.images import as_picture
from rnnjax.experiments.tasks._options import BatchSize, CellOption, Hidden, Layers, make_cell
from rnnjax.experiments.tasks._task import Metric, Recipe, Task
from rnnjax.experiments.tasks.captions._describe import caption_use, describer
from rnnjax.experiments.tasks.captions._model import captioner
from rnnjax.experiments.tasks.captions._scores import best_constant, evaluation, named

ATTENTIONS = ("additive", "dot", "none")


def caption(
    *,
    data: Annotated[
        Path | None, "Folder in Flickr8k's or COCO's layout; generated pictures without."
    ] = None,
    features: Annotated[Path | None, "An .npz file of given features, instead of a CNN."] = None,
    part: Annotated[str, "Flickr8k's list of pictures to test on: test or dev."] = "test",
    encoding: Annotated[str, "Of text files."] = "utf-8",
    side: Annotated[int, "Height and width that pictures are brought to."] = 32,
    pictures: Annotated[int, "Generated pictures to train on."] = 20_000,
    test_pictures: Annotated[int, "Generated pictures to test on, of either kind."] = 500,
    cell: CellOption = "lstm",
    hidden: Hidden = 128,
    layers: Layers = 1,
    attention: Annotated[str, "Over the map of features: additive, dot or none."] = "additive",
    channels: Annotated[int, "Features of the picture, or of each place in it."] = 64,
    embedding: Annotated[int, "Features of a word."] = 64,
    dropout_rate: Annotated[float, "Of words' features and of what the output reads."] = 0.0,
    word_dropout: Annotated[float, "Share of the words before that training hides."] = 0.5,
    max_words: Annotated[int | None, "Size of the vocabulary at most."] = None,
    beams: Annotated[int, "Of the search for captions in evaluation; 1 is greedy."] = 1,
    batch_size: BatchSize = 64,
) -> Task:
    """Say in a sentence what is in a picture.

        with attention:  m = CNN(picture), a map;   w_1 … w_n = decoder(m), which looks at m
                         before each word (as `rnnjax.scenarios.encoder_decoder`)
        without:         f = CNN(picture), one feature that sets the decoder's initial carry
                         (as `rnnjax.scenarios.one_to_many`)

    The CNN is trained along with the decoder; with `features` it is left out.

    Without a folder there are generated pictures of two things, each with a size, a colour and a
    shape, one above or beside the other, and both sentences that are true of them; see `picture`.
    They are tested on further pictures, and on `combinations` of colour and shape that no
    training picture shows.

    A folder in Flickr8k's layout has pictures, a file of captions (`captions.txt` with columns
    image,caption, or `*.token.txt`), and perhaps lists of the pictures to train and to test on
    (`*trainImages.txt`, …); in COCO's, `captions_train*.json` and `captions_val*.json`.
    Captions are in small letters, without punctuation.

    Metric: `exact`, the share of captions that equal a reference word for word, on the generated
    pictures; `bleu_4` of others. `evaluate` gives `exact` and BLEU-1 to 4, and of BLEU and exact
    the same with captions of other pictures (`shuffled_…`); for generated pictures
    `combinations_…` as well. The baseline is the best single sentence for all pictures.

    `infer["caption"](params, image, *, beams=3, looked=False)` captions a file or an array; with
    `looked` it gives a `Described`, which `rnnjax.experiments.report.write_captions` draws.

    Args:
      data: the folder.
      features: an array for each picture by the name of its file, `[F]`, `[P, F]` or `[h, w, F]`.
      part, encoding, side: how a folder is read.
      pictures, test_pictures: of the generated set.
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units of every layer.
      layers: how many.
      attention: "additive", "dot" or "none".
      channels, embedding: sizes.
      dropout_rate, word_dropout: in training.
      max_words: in the vocabulary; rarer words are never written.
      beams: in evaluation.
      batch_size: pictures in a training batch.

    Returns:
      A `Task`.

    Raises:
      FileNotFoundError: there is no such folder or file.
      ValueError: a bad file (with its line), an unknown layout, or options out of range.

    Example:
      >>> from rnnjax.experiments.tasks import caption
      >>> task = caption(hidden=8, pictures=100, test_pictures=10)
      >>> batch = task.batches(0)[0]
      >>> batch.pictures.shape, batch.words.shape
      ((64, 32, 32, 3), (14, 64))

    References:
      Vinyals, Toshev, Bengio & Erhan (2015), Show and tell: a neural image caption generator,
      CVPR.
      Xu et al. (2015), Show, attend and tell: neural image caption generation with visual
      attention, ICML.
      Hodosh, Young & Hockenmaier (2013), Framing image description as a ranking task, JAIR
      (Flickr8k).
    """
    check_choice("attention", attention, ATTENTIONS)
    check_choice("part", part, ("test", "dev"))
    for name, rate in (("dropout_rate", dropout_rate), ("word_dropout", word_dropout)):
        check_rate(name, rate)
    sizes = {"pictures": pictures, "test_pictures": test_pictures, "side": side, "beams": beams}
    sizes |= {"channels": channels, "embedding": embedding, "batch_size": batch_size}
    for name, value in sizes.items():
        check_positive_int(name, value)
    if data is None:
        if features is not None:
            raise ValueError("features are given for the pictures of a folder: give data as well")
        source = synthetic_pictures(pictures, test_pictures, side)
    else:
        source = open_captioned_pictures(
            data, side, part=part, features=features, encoding=encoding
        )
    vocabulary = caption_vocabulary(
        (text for each in source.train.captions for text in each), max_words
    )
    sentences = Sentences(source.train.captions, vocabulary)
    example = source.train.read(0)
    model = captioner(
        make_cell(cell, hidden, layers),
        len(vocabulary),
        example,
        attention=None if attention == "none" else attention,
        features=channels,
        embedding=embedding,
        dropout=dropout_rate,
        word_dropout=word_dropout,
    )
    form = example.shape[:2] if features is not None and example.ndim == 3 else None
    describe = describer(model.decoder, vocabulary, int(sentences.lengths.max()), form)
    metric = Metric("exact", "max") if data is None else Metric("bleu_4", "max", "%")
    return Task(
        name="caption",
        init=model.init,
        loss=model.loss,
        batches=lambda seed: caption_batches(source.train, sentences, batch_size, seed),
        evaluate=evaluation(describe, source.tests, beams),
        metric=metric,
        recipe=Recipe(steps=5000, learning_rate=2e-3, evaluate_every=1000),
        baselines={"best constant sentence": _constant(source)[metric.name]},
        infer={"caption": caption_use(describe, _reader(source.train, side, features is not None))},
        names=vocabulary.entries,
    )


def _constant(source: CaptionSource) -> dict[str, float]:
    """The scores of the best single sentence for all pictures."""
    test = source.tests["pictures"]
    sentence = best_constant(source.train.captions)
    return named("", [sentence] * len(test.captions), test.captions)


def _reader(train: Captioned, side: int, given: bool) -> Callable[[Any], np.ndarray]:
    """What makes of a file or an array what the net reads."""
    if not given:
        return lambda picture: as_picture(picture, side)
    form = train.read(0).shape

    def read(features: Any) -> np.ndarray:
        if isinstance(features, str | Path):
            raise ValueError(
                f"the net reads given features, not pictures: expected an array {form}, got "
                f"{str(features)!r}"
            )
        array = np.asarray(features, np.float32)
        if array.shape != form:
            raise ValueError(f"expected the features of one picture, {form}, got {array.shape}")
        return array

    return read
