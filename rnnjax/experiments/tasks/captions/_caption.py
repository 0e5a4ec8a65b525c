"""The image captioning task."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np

from rnnjax._checks import check_choice
from rnnjax._names import option
from rnnjax._types import Cell
from rnnjax.experiments._effects import check_no_effect
from rnnjax.experiments._fields import with_checked_options
from rnnjax.experiments._memory import check_fits
from rnnjax.experiments.data import digest_arrays, digest_files
from rnnjax.experiments.data.captions import (
    CaptionSource,
    Sentences,
    caption_batches,
    caption_vocabulary,
    open_captioned_pictures,
    synthetic_pictures,
)
from rnnjax.experiments.data.images import as_picture
from rnnjax.experiments.data.text import Vocabulary
from rnnjax.experiments.tasks._options import (
    BatchSize,
    CellOption,
    Hidden,
    Layers,
    check_positive_ints,
    check_rates,
    make_cell,
)
from rnnjax.experiments.tasks._recipes import CAPTION
from rnnjax.experiments.tasks._task import Metric, Model, Task, no_data
from rnnjax.experiments.tasks.captions._describe import Describer, caption_use, describer
from rnnjax.experiments.tasks.captions._model import Captioner, captioner
from rnnjax.experiments.tasks.captions._scores import best_constant, evaluation, named

_DESCRIPTION = 300  # bytes of the sentences of one synthetic picture
ATTENTIONS = ("additive", "dot", "none")


@with_checked_options
def caption(
    *,
    data: Annotated[
        Path | None, "Folder in Flickr8k's or COCO's layout; by default synthetic pictures."
    ] = None,
    features: Annotated[
        Path | None, "An .npz file of precomputed features, instead of a CNN."
    ] = None,
    part: Annotated[str, "Flickr8k's list of test pictures: test or dev."] = "test",
    encoding: Annotated[str, "Encoding of text files."] = "utf-8",
    side: Annotated[
        int,
        "Pictures are cropped to their centre square and resized to this height and width.",
    ] = 32,
    pictures: Annotated[int, "Number of synthetic training pictures."] = 20_000,
    test_pictures: Annotated[int, "Number of synthetic pictures in each test set."] = 500,
    cell: CellOption = "lstm",
    hidden: Hidden = 128,
    layers: Layers = 1,
    attention: Annotated[
        str, "Attention over the feature map: additive, dot or none."
    ] = "additive",
    channels: Annotated[int, "Features of the picture, or of each position of its map."] = 64,
    embedding: Annotated[int, "Size of the word embedding."] = 64,
    dropout_rate: Annotated[
        float, "Dropout rate of embedded words and of the input of the head."
    ] = 0.0,
    word_dropout: Annotated[float, "Rate at which training replaces input words by <unk>."] = 0.5,
    max_words: Annotated[int | None, "Largest size of the vocabulary."] = None,
    beams: Annotated[int, "Beam width of the search in evaluation; 1 is greedy."] = 1,
    batch_size: BatchSize = 64,
) -> Task:
    """Describe a picture in a sentence (image captioning).

        with attention:  m = CNN(picture), a map;   w_1 … w_n = decoder(m), which attends to m
                         before each word (as `rnnjax.scenarios.encoder_decoder`)
        without:         f = CNN(picture), one vector that sets the decoder's initial carry
                         (as `rnnjax.scenarios.one_to_many`)

    The CNN is trained jointly with the decoder; with `features` there is none.

    The default data are synthetic pictures of two shapes, each with a size and a colour, one above
    or beside the other, with two sentences each; see `rnnjax.experiments.data.picture`. There are
    two test sets: new pictures, and `combinations` of colour and shape that are in no training
    picture.

    A folder in Flickr8k's layout has pictures, a file of captions (`captions.txt` with columns
    image,caption, or `*.token.txt`), and optionally lists of training and test pictures
    (`*trainImages.txt`, …); in COCO's, `captions_train*.json` and `captions_val*.json`.
    Captions are converted to lower case, without punctuation.

    Metric: `exact`, the share of captions that equal a reference word for word, for synthetic
    pictures; `bleu_4` for others. `evaluate` returns `exact` and BLEU-1 to 4, the same with the
    captions of other pictures (`shuffled_…`), and for synthetic pictures `combinations_…`. The
    baseline is the best single sentence for all pictures. The best checkpoint is chosen on the same
    pictures, which makes its score optimistic: report the last, or choose by `part` dev.

    `infer["caption"](params, image, *, beams=3, looked=False)` captions a file or an array; with
    `looked` it returns a `Described`, which `rnnjax.experiments.report.write_captions` draws.

    Args:
      data: the folder.
      features: one array per picture, by file name, `[F]`, `[P, F]` or `[h, w, F]`.
      part, encoding, side: of a folder.
      pictures, test_pictures: numbers of synthetic pictures.
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer.
      layers: number of stacked layers.
      attention: "additive", "dot" or "none".
      channels, embedding: feature sizes.
      dropout_rate, word_dropout: in training.
      max_words: in the vocabulary; rarer words are never generated.
      beams: beam width in evaluation.
      batch_size: pictures per training batch.

    Returns:
      A `Task`.

    Raises:
      FileNotFoundError: there is no such folder or file.
      ValueError: a malformed file (with its line), an unknown layout, or options out of range.

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
    check_rates(dropout_rate=dropout_rate, word_dropout=word_dropout)
    check_positive_ints(
        pictures=pictures, test_pictures=test_pictures, side=side, beams=beams, channels=channels
    )
    check_positive_ints(embedding=embedding, batch_size=batch_size)
    _check_batch(1, side, (side, side, 3))
    if data is None:
        read = {"part": part, "encoding": encoding}
        check_no_effect(caption, read, f"without {option('data')}")
        if features is not None:
            raise ValueError(
                f"{option('features')} are of the pictures of a folder: give it too, by "
                f"{option('data')}"
            )
        described = option("pictures", pictures), option("test_pictures", test_pictures)
        what = f"{' and '.join(described)}: the descriptions"
        check_fits(what, _DESCRIPTION * (pictures + 2 * test_pictures))
        _check_batch(min(batch_size, 2 * pictures), side, (side, side, 3))
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
    _check_batch(min(batch_size, len(sentences)), side, example.shape)
    facts = {
        "training_pictures": len(source.train.captions),
        "test_pictures": len(source.tests["pictures"].captions),
        "input": list(example.shape),  # of one picture, or of its precomputed features
        "longest": int(sentences.lengths.max()),  # words of a caption, the end token included
        "vocabulary": list(vocabulary.entries),
    }
    model, describe, infer = _model(
        facts,
        vocabulary,
        make_cell(cell, hidden, layers),
        features=features,
        side=side,
        attention=attention,
        channels=channels,
        embedding=embedding,
        dropout_rate=dropout_rate,
        word_dropout=word_dropout,
    )
    metric = Metric("exact", "max") if data is None else Metric("bleu_4", "max", "%")
    return Task(
        name="caption",
        init=model.init,
        loss=model.loss,
        batches=lambda seed: caption_batches(source.train, sentences, batch_size, seed),
        evaluate=evaluation(describe, source.tests, beams),
        metric=metric,
        recipe=CAPTION,
        baselines={"best constant sentence": _constant(source)[metric.name]},
        infer=infer,
        terms=lambda batch: jnp.sum(jnp.asarray(batch.lengths)),
        data=facts,
        notes=[
            f"{len(source.train.captions):,} pictures for training with {len(sentences):,} "
            f"captions, {len(source.tests['pictures'].captions):,} pictures for testing; "
            f"{len(vocabulary.entries):,} words"
        ],
        digest=no_data if data is None else lambda: _digest(source),
    )


def _check_batch(pictures: int, side: int, shape: Sequence[int]) -> None:
    """Raise ValueError if pictures, or features, of this shape do not fit into memory as floats."""
    what = "one picture" if pictures == 1 else f"a batch of {pictures} pictures"
    check_fits(f"{option('side', side)}: {what}", 4 * pictures * math.prod(shape))


def restore_caption(
    facts: Mapping[str, Any],
    /,
    *,
    cell: CellOption,
    hidden: int,
    layers: int,
    features: Path | None,
    side: int,
    attention: str,
    channels: int,
    embedding: int,
    **_: Any,
) -> Model:
    """The model of `caption(...)`, from `Task.data` and the same options."""
    model, _describe, infer = _model(
        facts,
        Vocabulary(facts["vocabulary"], "spaces", lowercase=False),
        make_cell(cell, hidden, layers),
        features=features,
        side=side,
        attention=attention,
        channels=channels,
        embedding=embedding,
        dropout_rate=0.0,
        word_dropout=0.0,
    )
    return Model(model.init, infer)


def _model(
    facts: Mapping[str, Any],
    vocabulary: Vocabulary,
    cell: Cell,
    *,
    features: Path | None,
    side: int,
    attention: str,
    channels: int,
    embedding: int,
    dropout_rate: float,
    word_dropout: float,
) -> tuple[Captioner, Describer, dict[str, Callable[..., Any]]]:
    shape = tuple(facts["input"])
    model = captioner(
        cell,
        len(vocabulary),
        np.zeros(shape, np.uint8 if features is None else np.float32),
        attention=None if attention == "none" else attention,
        features=channels,
        embedding=embedding,
        dropout=dropout_rate,
        word_dropout=word_dropout,
    )
    form = shape[:2] if features is not None and len(shape) == 3 else None
    describe = describer(model.decoder, vocabulary, facts["longest"], form)
    read = _reader(side if features is None else shape)
    return model, describe, {"caption": caption_use(describe, read)}


def _digest(source: CaptionSource) -> str:
    captions = [source.train.captions, *(each.captions for each in source.tests.values())]
    text = np.frombuffer(json.dumps(captions).encode(), np.uint8)
    return digest_arrays(text) + digest_files(source.paths)


def _constant(source: CaptionSource) -> dict[str, float]:
    """The scores of the best constant caption."""
    test = source.tests["pictures"]
    sentence = best_constant(source.train.captions)
    return named("", [sentence] * len(test.captions), test.captions)


def _reader(form: int | Sequence[int]) -> Callable[[Any], np.ndarray]:
    """A function from a file or an array to the input of the model.

    `form` is the side of pictures, or the shape of precomputed features.
    """
    if isinstance(form, int):
        return lambda picture: as_picture(picture, form)
    form = tuple(form)

    def read(features: Any) -> np.ndarray:
        if isinstance(features, str | Path):
            raise ValueError(
                f"the model reads precomputed features, not pictures: expected {form}, got "
                f"{str(features)!r}"
            )
        array = np.asarray(features, np.float32)
        if array.shape != form:
            raise ValueError(f"expected the features of one picture, {form}, got {array.shape}")
        return array

    return read
