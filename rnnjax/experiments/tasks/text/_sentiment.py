"""The sentiment classification task."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from rnnjax._checks import check_choice, check_positive_int
from rnnjax._names import option
from rnnjax.experiments._effects import check_no_effect
from rnnjax.experiments._fields import with_checked_options
from rnnjax.experiments.data import digest_arrays
from rnnjax.experiments.data.text import (
    ReviewReader,
    Vocabulary,
    download_reviews,
    open_reviews,
    prepare_reviews,
)
from rnnjax.experiments.tasks._notes import class_counts
from rnnjax.experiments.tasks._options import (
    BatchSize,
    CellOption,
    Hidden,
    Layers,
    check_positive_ints,
    check_rates,
    make_layer,
)
from rnnjax.experiments.tasks._recipes import sentiment_recipe
from rnnjax.experiments.tasks._task import Metric, Model, Task
from rnnjax.experiments.tasks.text._review_model import (
    WordFeatures,
    evaluation,
    review_model,
)


@with_checked_options
def sentiment(
    *,
    data: Annotated[
        Path | None,
        "Reviews: a .csv, .tsv or .jsonl, the folder of rt-polarity, a folder of pos and neg .txt "
        "files, or a saved dataset.",
    ] = None,
    dataset: Annotated[
        str, "Data set to download if there is no data: imdb, yelp or yelp-stars."
    ] = "imdb",
    text: Annotated[
        str, "Column of the texts in a table: its name, or with --no-header its number from 0."
    ] = "text",
    label: Annotated[
        str, "Column of the classes in a table: its name, or with --no-header its number from 0."
    ] = "label",
    header: Annotated[
        bool,
        "Whether the first line of a table names the columns; if not, they are called 0, 1, 2 …",
    ] = True,
    encoding: Annotated[
        str | None, "Encoding of the files; by default UTF-8, and Latin-1 for rt-polarity."
    ] = None,
    fold: Annotated[int, "Test fold, if the data have no test part."] = 0,
    folds: Annotated[int, "Number of folds of the cross-validation."] = 10,
    dev: Annotated[
        bool,
        "Evaluate on a fifth of the training part instead of the test part, for model selection.",
    ] = False,
    units: Annotated[
        str, "words, with punctuation separate; or spaces, whitespace-separated words."
    ] = "words",
    lowercase: Annotated[bool, "Convert to lower case."] = True,
    min_count: Annotated[int, "Words that are rarer in the training part become <unk>."] = 1,
    max_words: Annotated[int | None, "Largest size of the vocabulary."] = None,
    max_length: Annotated[int, "Texts are truncated to this many words."] = 400,
    cell: CellOption = "gru",
    hidden: Hidden = 64,
    layers: Layers = 1,
    bidirectional: Annotated[bool, "Use a bidirectional network."] = True,
    embedding: Annotated[int, "Size of the word embedding."] = 128,
    subwords: Annotated[
        int, "Hash buckets of the character n-grams whose embeddings are added to a word's; or 0."
    ] = 20_000,
    pooling: Annotated[str, "Pooling over time: max, mean, sum, last or attention."] = "max",
    dropout_rate: Annotated[float, "Dropout rate of the input of the head."] = 0.5,
    embedding_dropout: Annotated[float, "Dropout rate of the word embedding."] = 0.6,
    word_dropout: Annotated[float, "Rate at which training replaces words by <unk>."] = 0.3,
    batch_size: BatchSize = 50,
) -> Task:
    """Classify texts, such as reviews into positive and negative.

        x_t = E[w_t] + 2/n Σ_i S[g_i];   y_1 … y_T = net(x_1 … x_T);   p = softmax(W pool(y) + b)

    The features of a word are its own embedding plus those of its character n-grams, so that words
    never seen in training have features too. All embeddings are trained from scratch.

    Data without a test part are cross-validated: `fold` is the test fold of `folds`, the same for
    every seed. With `dev` the test part is not used at all, and the model is evaluated on a fifth
    of the training texts instead.

    Metric: `accuracy`; also `nats`, the mean cross-entropy. Baselines on the same split: the most
    frequent class, and multinomial naive Bayes on words, and on words and bigrams. The best
    checkpoint is chosen on the texts that are evaluated, the test part without `dev`, which makes
    its score optimistic: report the last.

    `infer["classify"](params, texts) -> [(class, probability), …]`.

    Args:
      data: the data; None downloads `dataset`.
      dataset: a name on Hugging Face's hub.
      text, label, header, encoding: how the data are read.
      fold, folds, dev: which texts are evaluated.
      units, lowercase, min_count, max_words, max_length: tokenisation and vocabulary.
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer and direction.
      layers: number of stacked layers.
      bidirectional: whether the network is bidirectional.
      embedding: size of the word embedding.
      subwords: number of hash buckets of the n-grams.
      pooling: as in `rnnjax.scenarios.many_to_one`.
      dropout_rate, embedding_dropout, word_dropout: in training.
      batch_size: texts per training batch.

    Returns:
      A `Task`. It has a `recurrence` with one layer or more in one direction.

    Raises:
      FileNotFoundError: data does not exist.
      ImportError: tokenizers, scikit-learn or grain is not installed, or datasets where needed.
      ValueError: an unknown layout, a malformed file (with its line), options out of range, or
        options without effect, such as a fold of data with a test part.

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
    check_rates(
        dropout_rate=dropout_rate, embedding_dropout=embedding_dropout, word_dropout=word_dropout
    )
    check_positive_ints(
        min_count=min_count, max_length=max_length, embedding=embedding, batch_size=batch_size
    )
    if max_words is not None:
        check_positive_int("max_words", max_words)
    if subwords != 0:
        check_positive_int("subwords", subwords)
    check_choice("units", units, ("words", "spaces"))
    layer = make_layer(cell, hidden, layers, bidirectional=bidirectional)
    reading = {"text": text, "label": label, "header": header, "encoding": encoding}
    if data is None:
        check_no_effect(sentiment, reading, f"without {option('data')}")
        source = download_reviews(dataset)
    else:
        check_no_effect(sentiment, {"dataset": dataset}, f"with {option('data')}")
        source = open_reviews(data, **reading)
    if source.test is not None:
        held_out = {"fold": fold, "folds": folds}
        check_no_effect(sentiment, held_out, f"with a test part, which {data or dataset} has")
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
        len(reviews.reader.vocabulary), embedding, subwords, embedding_dropout, word_dropout
    )
    model = review_model(reviews.reader, features, layer, pooling, dropout_rate)
    facts = {
        "classes": list(reviews.reader.classes),
        "texts_of_each": np.bincount(reviews.labels).tolist(),
        "training_texts": len(reviews.split.train),
        "test_texts": len(reviews.split.test),
        "vocabulary": list(reviews.reader.vocabulary.entries),
    }
    return Task(
        "sentiment",
        model.init,
        model.loss,
        partial(reviews.batches, batch_size=batch_size),
        evaluation(reviews, model.logits_of),
        Metric("accuracy", "max"),
        sentiment_recipe(reviews.steps_per_epoch(batch_size)),
        baselines=reviews.baselines(),
        recurrence=model.recurrence,
        infer={"classify": model.classify},
        notes=[_note(str(data or dataset), facts)],
        data=facts,
        digest=lambda: digest_arrays(
            reviews.store.ids, reviews.store.starts, reviews.labels, *reviews.split
        ),
    )


def _note(name: str, facts: Mapping[str, Any]) -> str:
    classes = facts["classes"]
    return (
        f"{name}: {len(classes)} classes of texts, "
        f"{class_counts(classes, facts['texts_of_each'])}; "
        f"{facts['training_texts']:,} for training, {facts['test_texts']:,} for testing; "
        f"{len(facts['vocabulary']):,} words"
    )


def restore_sentiment(
    facts: Mapping[str, Any],
    /,
    *,
    units: str,
    lowercase: bool,
    max_length: int,
    cell: CellOption,
    hidden: int,
    layers: int,
    bidirectional: bool,
    embedding: int,
    subwords: int,
    pooling: str,
    **_: Any,
) -> Model:
    """The model of `sentiment(...)`, from `Task.data` and the same options."""
    vocabulary = Vocabulary(facts["vocabulary"], units, lowercase)
    reader = ReviewReader(tuple(facts["classes"]), vocabulary, subwords, max_length)
    layer = make_layer(cell, hidden, layers, bidirectional=bidirectional)
    features = WordFeatures(len(vocabulary), embedding, subwords)
    model = review_model(reader, features, layer, pooling, 0.0)
    return Model(model.init, {"classify": model.classify})
