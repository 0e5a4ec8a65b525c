"""Steps on the device, many at once, and what is kept of them between two looks."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Array, PyTree
from rnnjax.experiments.tasks import Batch
from rnnjax.experiments.training._step import ALL_FINITE, Metrics, TrainState, TrainStep

_LARGE = 2**26  # bytes of batches that are not worth copying side by side


class Totals(NamedTuple):
    """Over the steps since the last look; [seeds, ...] where several are trained at once."""

    finite: Array  # [] int32, those whose cost and gradient were finite
    clipped: Array  # [] int32, those whose gradient's norm was above clip_norm
    cost: Array  # [] sum over the finite ones
    gradient_norm: Array  # [] likewise
    task: dict[str, Array]  # likewise
    bad_step: Array  # [] int32, the first that was not finite, counted from 1; 0: none
    bad_leaf: Array  # [] int32, its Metrics.bad_leaf
    bad_cost: Array  # [] its cost


WatchedSteps = Callable[[TrainState, Totals, tuple[Batch, ...]], tuple[TrainState, Totals, Array]]


def watched(step: TrainStep, clip_norm: float) -> WatchedSteps:
    """`(state, totals, batches) -> (state, totals, cost)`: a step for each batch, added up.

    Several batches have one shape, and their steps run in a loop on the device.
    """

    def one(
        carried: tuple[TrainState, Totals], batch: Batch
    ) -> tuple[tuple[TrainState, Totals], Array]:
        state, totals = carried
        new, metrics = step(state, batch)
        return (new, _added(totals, metrics, new.step, clip_norm)), metrics.cost

    def run(
        state: TrainState, totals: Totals, batches: tuple[Batch, ...]
    ) -> tuple[TrainState, Totals, Array]:
        if len(batches) == 1:
            carried, cost = one((state, totals), batches[0])
            return *carried, cost
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)
        carried, costs = jax.lax.scan(one, (state, totals), stacked)
        return *carried, costs[-1]

    return run


def grouped(batches: Iterator[Batch], count: int, size: int) -> Iterator[list[tuple[Batch, ...]]]:
    """`count` batches, `size` by `size`: one group where they have one shape, else each its own.

    What is left over at the end comes one by one. A run that stops between two items goes on with
    the groups that it would have had, and so computes the same to the last bit.
    """
    while count:
        group = tuple(islice(batches, size if count >= size else 1))
        count -= len(group)
        alike = len({_shapes(batch) for batch in group}) == 1 and _bytes(group) <= _LARGE
        yield [group] if alike else [(batch,) for batch in group]


def _shapes(batch: Batch) -> tuple[Any, ...]:
    leaves, tree = jax.tree.flatten(batch)
    return tree, *((np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)


def _bytes(tree: PyTree) -> int:
    return sum(getattr(leaf, "nbytes", 0) for leaf in jax.tree.leaves(tree))


def no_steps(metrics: Metrics) -> Totals:
    """The totals over no steps, as numpy arrays, for metrics of these shapes."""
    sums = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), metrics)
    none: Any = np.zeros(metrics.cost.shape, np.int32)
    return Totals(none, none, sums.cost, sums.gradient_norm, sums.task, none, none, sums.cost)


def _added(totals: Totals, metrics: Metrics, step: Array, clip_norm: float) -> Totals:
    finite = metrics.bad_leaf == ALL_FINITE

    def add(total: Array, value: Array) -> Array:
        return total + jnp.where(finite, value, 0).astype(total.dtype)

    first = ~finite & (totals.bad_step == 0)
    return Totals(
        totals.finite + finite,
        totals.clipped + (metrics.gradient_norm > clip_norm),
        add(totals.cost, metrics.cost),
        add(totals.gradient_norm, metrics.gradient_norm),
        jax.tree.map(add, totals.task, metrics.task),
        jnp.where(first, step, totals.bad_step),
        jnp.where(first, metrics.bad_leaf, totals.bad_leaf),
        jnp.where(first, metrics.cost, totals.bad_cost),
    )


def figures(totals: Totals, steps: int) -> dict[str, Any]:
    """Means over the steps, for a line of the log; NaN where none was finite."""

    def mean(total: Array) -> np.ndarray:
        return np.where(totals.finite > 0, total / np.maximum(totals.finite, 1), np.nan)

    return {
        "cost": mean(totals.cost),
        "gradient_norm": mean(totals.gradient_norm),
        "clip_rate": np.asarray(totals.clipped) / steps,
        "training": jax.tree.map(mean, totals.task),
    }
