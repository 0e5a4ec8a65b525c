"""Which word was said."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.experiments.tasks._batching import bucketed, in_order
from rnnjax.experiments.tasks._task import Metric, Recipe, Recurrence, Task
from rnnjax.experiments.tasks.spoken._baselines import linear_accuracy, most_common
from rnnjax.experiments.tasks.spoken._examples import Words, word_loader
from rnnjax.experiments.tasks.spoken._setup import Setup
from rnnjax.scenarios import Module, cross_entropy, many_to_one

_AT_ONCE = 64  # recordings of one batch in evaluation
_Files = Iterable[str | Path] | str | Path


def word_task(setup: Setup, pooling: str) -> Task:
    """The task of telling single words."""
    recordings, train, test = setup.recordings, setup.train, setup.test
    lengths, load = word_loader(recordings, setup.front_end)
    head = setup.head(len(recordings.labels))
    model = many_to_one(setup.layer, head, pooling=pooling)
    logits_of = jax.jit(lambda params, xs, lengths: model.apply(params, xs, lengths=lengths))

    def loss(params: Params, carry: Carry, batch: Words, key: Array | None):
        del carry
        xs, key = setup.read(batch, key)
        logits = model.apply(params, xs, lengths=batch.lengths, key=key)
        right = jnp.argmax(logits, axis=-1) == batch.labels
        cost = cross_entropy(logits, jnp.asarray(batch.labels))
        return cost, (None, {"accuracy": jnp.mean(right)})

    def evaluate(params: Params) -> dict[str, float]:
        right = 0
        for rows in in_order(lengths[test], _AT_ONCE):
            batch = load(test[rows])
            logits = logits_of(params, setup.read(batch, None)[0], batch.lengths)
            right += int(np.sum(np.argmax(logits, axis=-1) == batch.labels))
        return {"accuracy": right / len(test)}

    def batches(seed: int) -> Any:
        order = bucketed(lengths[train], setup.batch_size, seed)
        return order.map(lambda rows: load(train[rows]))

    return Task(
        name="speech",
        init=setup.init(model),
        loss=loss,
        batches=batches,
        evaluate=evaluate,
        metric=Metric("accuracy", "max"),
        recipe=Recipe(steps=800, learning_rate=5e-3, evaluate_every=100),
        baselines={
            "commonest word": most_common(recordings, train, test),
            "linear": linear_accuracy(recordings, setup.front_end, train, test),
        },
        recurrence=_recurrence(setup, head, pooling),
        infer={"classify": _classify(setup, logits_of)},
        names=recordings.labels,
    )


def _recurrence(
    setup: Setup, head: Module, pooling: str
) -> Callable[[Params, Words], Recurrence] | None:
    """The recurrent part, where it is a cell and the pooling has no weights."""
    cell = setup.layer
    if not isinstance(cell, Cell) or pooling not in ("last", "mean", "sum"):
        return None

    def recurrence(params: Params, batch: Words) -> Recurrence:
        lengths = jnp.asarray(batch.lengths)

        def cost(carry: Carry, ys: Array) -> Array:
            del carry
            logits = jnp.asarray(head.apply(params.head, _pooled(ys, lengths, pooling)))
            return cross_entropy(logits, jnp.asarray(batch.labels)) * len(batch.labels)

        return Recurrence(cell, params.layer, setup.read(batch, None)[0], cost, lengths)

    return recurrence


def _pooled(ys: Array, lengths: Array, pooling: str) -> Array:
    """The last, the mean or the sum of outputs that are zero in the padding."""
    if pooling == "last":
        return jnp.take_along_axis(ys, (lengths - 1)[None, :, None], axis=0)[0]
    total = jnp.sum(ys, axis=0)
    return total if pooling == "sum" else total / lengths.astype(ys.dtype)[:, None]


def _classify(
    setup: Setup, logits_of: Callable[..., Array]
) -> Callable[[Params, _Files], list[tuple[str, float]]]:
    def classify(params: Params, files: _Files) -> list[tuple[str, float]]:
        """The likeliest word in each WAV file, with its probability."""
        xs, lengths = setup.of_files(files)
        shares = np.asarray(jax.nn.softmax(logits_of(params, jnp.asarray(xs), lengths)))
        best = shares.argmax(axis=-1)
        labels = setup.recordings.labels
        return [(labels[k], float(share[k])) for k, share in zip(best, shares, strict=True)]

    return classify
