"""Sentiment: what does a review think of it?"""

from functools import partial
from pathlib import Path
from typing import Annotated

from rnnjax._checks import check_choice, check_positive_int, check_rate
from rnnjax.experiments.data.text import download_reviews, open_reviews, prepare_reviews
from rnnjax.experiments.tasks._options import BatchSize, CellOption, Hidden, Layers, make_layer
from rnnjax.experiments.tasks._task import Metric, Recipe, Task
from rnnjax.experiments.tasks.text._review_model import WordFeatures, review_model

_EPOCHS, _MOST_STEPS = 6, 20_000  # of the recipe


def sentiment(
    *,
    data: Annotated[
        Path | None,
        "Reviews of your own: a .csv, .tsv or .jsonl, rt-polarity's folder, a folder of pos and "
        "neg .txt files, or a saved dataset.",
    ] = None,
    dataset: Annotated[
        str, "What to download where no data are given: imdb, yelp or yelp-stars."
    ] = "imdb",
    text: Annotated[str, "Column of the texts, in a table."] = "text",
    label: Annotated[str, "Column of their classes, in a table."] = "label",
    encoding: Annotated[
        str | None, "Of the files; without it UTF-8, and Latin-1 for rt-polarity."
    ] = None,
    fold: Annotated[int, "The fold to hold out, where the data have no test part."] = 0,
    folds: Annotated[int, "Folds of the cross-validation."] = 10,
    dev: Annotated[
        bool, "Judge by a fifth of the training part, to choose options by, not by the test part."
    ] = False,
    units: Annotated[str, "words; or spaces: what stands between spaces."] = "words",
    lowercase: Annotated[bool, "Read capitals as small letters."] = True,
    min_count: Annotated[int, "Words rarer than this in the training part become <unk>."] = 1,
    max_words: Annotated[int | None, "Size of the vocabulary at most."] = None,
    max_length: Annotated[int, "Words of a text that are read; the rest is cut off."] = 400,
    cell: CellOption = "gru",
    hidden: Hidden = 64,
    layers: Layers = 1,
    both_ways: Annotated[bool, "Read every text in both directions."] = True,
    embedding: Annotated[int, "Features of a word."] = 128,
    subwords: Annotated[
        int, "Size of the table of character n-grams, whose features a word's spelling adds; or 0."
    ] = 20_000,
    pooling: Annotated[str, "Outputs of a text's steps: max, mean, sum, last, attention."] = "max",
    dropout_rate: Annotated[float, "Of what the classifier reads."] = 0.5,
    embedding_dropout: Annotated[float, "Of the features of words."] = 0.6,
    word_dropout: Annotated[float, "Of whole words, which become <unk>."] = 0.3,
    batch_size: BatchSize = 50,
) -> Task:
    """Tell the class of a text, such as whether a review is for or against.

        x_t = E[w_t] + 2/n Σ_i S[g_i];   y_1 … y_T = net(x_1 … x_T);   p = softmax(W pool(y) + b)

    A word's features are its own and those of the character n-grams that it is spelt with, so
    that a word never seen in training still says something. All that is known of words comes
    from the training texts; there are no vectors from elsewhere.

    Data without a test part are cross-validated: `fold` says which of the `folds` is held out,
    the same texts for every seed. With `dev` the held-out part plays no role at all, and a fifth
    of the training texts is judged instead.

    Metric: `accuracy`; beside it `nats`, the mean cross-entropy. Baselines on the same split: the
    commonest class, and multinomial naive Bayes on words and on words and pairs of them.

    `infer["classify"](params, texts) -> [(class, probability), …]`.

    Args:
      data: the data; None downloads `dataset`.
      dataset: a name on Hugging Face's hub.
      text, label, encoding: how the data are read.
      fold, folds, dev: which texts are judged.
      units, lowercase, min_count, max_words, max_length: what a word is, and which are known.
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units of every layer and direction.
      layers: how many.
      both_ways: a second net reads backwards.
      embedding: features of a word.
      subwords: how many numbers its n-grams are hashed to.
      pooling: as in `rnnjax.scenarios.many_to_one`.
      dropout_rate, embedding_dropout, word_dropout: in training.
      batch_size: texts in a training batch.

    Returns:
      A `Task`. It has a `recurrence` with one layer or more in one direction.

    Raises:
      FileNotFoundError: there is nothing at data.
      ImportError: tokenizers, scikit-learn or grain is not installed, or datasets where needed.
      ValueError: data in no layout that is known, a bad file (with its line), or options out of
        range.

    Example:
      >>> import pathlib, tempfile
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> for name, word in (("neg", "dull"), ("pos", "fun")):
      ...     _ = (folder / f"rt.{name}").write_text(f"a {word} film .\\n" * 20)
      >>> task = sentiment(data=folder, hidden=4, batch_size=6)
      >>> task.batches(0)[0].words.places.shape, task.baselines["naive Bayes"]
      ((4, 6), 1.0)

    References:
      Pang & Lee (2005), Seeing stars: exploiting class relationships for sentiment categorization
      with respect to rating scales, ACL (rt-polarity).
      Iyyer et al. (2015), Deep unordered composition rivals syntactic methods for text
      classification, ACL (word dropout).
      Bojanowski et al. (2017), Enriching word vectors with subword information, TACL 5.
    """
    _check(
        {"dropout_rate": dropout_rate, "embedding_dropout": embedding_dropout}
        | {"word_dropout": word_dropout},
        {"min_count": min_count, "max_length": max_length, "embedding": embedding}
        | {"batch_size": batch_size}
        | ({"max_words": max_words} if max_words is not None else {})
        | ({"subwords": subwords} if subwords != 0 else {}),
    )
    check_choice("units", units, ("words", "spaces"))
    layer = make_layer(cell, hidden, layers, both_ways=both_ways)
    if data is None:
        source = download_reviews(dataset)
    else:
        source = open_reviews(data, text=text, label=label, encoding=encoding)
    reviews = prepare_reviews(
        source,
        fold=fold,
        folds=folds,
        dev=dev,
        units=units,
        lowercase=lowercase,
        min_count=min_count,
        max_words=max_words,
        max_length=max_length,
        buckets=subwords,
    )
    features = WordFeatures(
        len(reviews.vocabulary), embedding, subwords, embedding_dropout, word_dropout
    )
    model = review_model(reviews, features, layer, pooling, dropout_rate)
    epoch = reviews.steps_per_epoch(batch_size)
    return Task(
        "sentiment",
        model.init,
        model.loss,
        partial(reviews.batches, batch_size=batch_size),
        model.evaluate,
        Metric("accuracy", "max"),
        Recipe(
            steps=min(_EPOCHS * epoch, _MOST_STEPS),
            learning_rate=2e-3,
            average=0.98,
            evaluate_every=min(epoch, 1000),
        ),
        baselines=reviews.baselines(),
        recurrence=model.recurrence,
        infer={"classify": model.classify},
        names=(*reviews.classes, *reviews.vocabulary.entries),
    )


def _check(rates: dict[str, float], sizes: dict[str, int]) -> None:
    for name, rate in rates.items():
        check_rate(name, rate)
    for name, size in sizes.items():
        check_positive_int(name, size)
