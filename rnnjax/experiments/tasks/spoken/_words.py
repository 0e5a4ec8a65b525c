"""Classification of single spoken words, and its baselines."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._extras import optional
from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.experiments.data import batches_by_length, bucketed_batches
from rnnjax.experiments.data.audio import FrontEnd, Recordings, WordBatch, word_loader
from rnnjax.experiments.tasks._recipes import WORDS
from rnnjax.experiments.tasks._sequences import hits
from rnnjax.experiments.tasks._task import Metric, Model, Recurrence, Task
from rnnjax.experiments.tasks.spoken._setup import Setup
from rnnjax.scenarios import ManyToOne, Module, cross_entropy, many_to_one, pooled

_AT_ONCE = 64  # recordings of one batch in evaluation
_FRAMES = 16  # to which the linear baseline resamples a recording
_FITTED = 4000  # recordings to which the linear baseline is fitted
_Files = Iterable[str | Path] | str | Path


def word_task(setup: Setup, pooling: str) -> Task:
    """The task of classifying single words."""
    recordings, train, test = setup.recordings, setup.train, setup.test
    lengths, load = word_loader(recordings, setup.front_end)
    head, model, logits_of = _net(setup, pooling)

    def loss(params: Params, carry: Carry, batch: WordBatch, key: Array | None):
        del carry
        xs, key = setup.read(batch, key)
        logits = model.apply(params, xs, lengths=batch.lengths, key=key)
        right = hits(logits, batch.labels)
        cost = cross_entropy(logits, jnp.asarray(batch.labels))
        return cost, (None, {"accuracy": jnp.mean(right)})

    def evaluate(params: Params) -> dict[str, float]:
        right = 0
        for rows in batches_by_length(lengths[test], _AT_ONCE):
            batch = load(test[rows])
            logits = logits_of(params, setup.read(batch, None)[0], batch.lengths)
            right += int(jnp.sum(hits(logits, batch.labels)))
        return {"accuracy": right / len(test)}

    def batches(seed: int) -> Any:
        size = min(setup.batch_size, len(train))
        order = bucketed_batches(lengths[train], size, seed, drop_remainder=True)
        return order.map(lambda rows: load(train[rows]))

    return Task(
        name="speech",
        init=setup.init(model),
        loss=loss,
        batches=batches,
        evaluate=evaluate,
        metric=Metric("accuracy", "max"),
        recipe=WORDS,
        baselines={
            "most frequent word": most_common(recordings, train, test),
            "linear": linear_accuracy(recordings, setup.front_end, train, test),
        },
        recurrence=_recurrence(setup, head, pooling),
        infer={"classify": _classify(setup, logits_of)},
        data=setup.data(),
        notes=setup.notes(),
        digest=setup.digest,
    )


def word_model(setup: Setup, pooling: str) -> Model:
    """The model of the task alone."""
    _, model, logits_of = _net(setup, pooling)
    return Model(setup.init(model), {"classify": _classify(setup, logits_of)})


def _net(setup: Setup, pooling: str) -> tuple[Module, ManyToOne, Callable[..., Array]]:
    head = setup.head(len(setup.recordings.labels))
    model = many_to_one(setup.layer, head, pooling=pooling)
    return (
        head,
        model,
        jax.jit(lambda params, xs, lengths: model.apply(params, xs, lengths=lengths)),
    )


def _recurrence(
    setup: Setup, head: Module, pooling: str
) -> Callable[[Params, WordBatch], Recurrence] | None:
    """The recurrent part, if it is a cell."""
    cell = setup.layer
    if not isinstance(cell, Cell):
        return None

    def recurrence(params: Params, batch: WordBatch) -> Recurrence:
        lengths = jnp.asarray(batch.lengths)

        def cost(carry: Carry, ys: Array) -> Array:
            del carry
            summary = pooled(pooling).apply(params.pooling, ys, lengths)
            logits = jnp.asarray(head.apply(params.head, summary))
            return cross_entropy(logits, jnp.asarray(batch.labels)) * len(batch.labels)

        return Recurrence(cell, params.layer, setup.read(batch, None)[0], cost, lengths)

    return recurrence


def _classify(
    setup: Setup, logits_of: Callable[..., Array]
) -> Callable[[Params, _Files], list[tuple[str, float]]]:
    def classify(params: Params, files: _Files) -> list[tuple[str, float]]:
        """The most probable word in each WAV file, with its probability."""
        xs, lengths = setup.of_files(files)
        shares = np.asarray(jax.nn.softmax(logits_of(params, jnp.asarray(xs), lengths)))
        best = shares.argmax(axis=-1)
        labels = setup.recordings.labels
        return [(labels[k], float(share[k])) for k, share in zip(best, shares, strict=True)]

    return classify


def most_common(recordings: Recordings, train: np.ndarray, test: np.ndarray) -> float:
    """Baseline: the accuracy of the most frequent word of training."""
    counts = Counter(recordings.entries[k].label for k in train)
    word = counts.most_common(1)[0][0]
    return sum(recordings.entries[k].label == word for k in test) / len(test)


def linear_accuracy(
    recordings: Recordings, front_end: FrontEnd, train: np.ndarray, test: np.ndarray
) -> float:
    """Baseline: the accuracy of logistic regression on recordings resampled to 16 steps.

    Fitted to at most 4,000 training recordings, evenly spaced, and evaluated on as many.
    """

    def resampled(numbers: np.ndarray) -> np.ndarray:
        found = [front_end(recordings.samples(k)) for k in numbers]
        return np.stack([x[_evenly(len(x), _FRAMES)].ravel() for x in found])

    def words(numbers: np.ndarray) -> list[str]:
        return [recordings.entries[k].label for k in numbers]

    train, test = (x[np.unique(_evenly(len(x), _FITTED))] for x in (train, test))
    if len(set(words(train))) < 2:  # the others are too rare to be among those
        return float(np.mean(np.array(words(test)) == words(train)[0]))
    model = optional("sklearn.linear_model").LogisticRegression(C=0.01, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # approximate convergence is good enough
        model.fit(resampled(train), words(train))
    return float(model.score(resampled(test), words(test)))


def _evenly(count: int, places: int) -> np.ndarray:
    return np.linspace(0, count - 1, places).round().astype(int)
