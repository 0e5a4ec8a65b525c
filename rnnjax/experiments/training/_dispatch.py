"""Several training steps per dispatch to the device, and running totals of their metrics."""

import functools
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax._types import Array, PyTree
from rnnjax.experiments.tasks import Batch, Task
from rnnjax.experiments.training._returned import check_same_form
from rnnjax.experiments.training._same_program import form_of, hashable
from rnnjax.experiments.training._settings import ResolvedSettings
from rnnjax.experiments.training._setup import learning_rates, seeds_step
from rnnjax.experiments.training._step import (
    ALL_FINITE,
    Metrics,
    TrainState,
    TrainStep,
    slow_in_loops,
)

_GROUP = 10  # steps per dispatch
_IN_FLIGHT = 2  # dispatches before the first of them is waited for
_LARGE = 2**26  # bytes of batches above which stacking them is not worth the copy


class Totals(NamedTuple):
    """Sums over the steps since the last log entry; [seeds, ...] if there are several."""

    finite: Array  # [] int32, steps whose cost and gradient were finite
    clipped: Array  # [] int32, steps whose gradient norm exceeded clip_norm
    cost: Array  # [] sum over the finite steps
    gradient_norm: Array  # [] likewise
    task: dict[str, Array]  # likewise
    bad_step: Array  # [] int32, the first step that was not finite, counted from 1; 0: none
    bad_leaf: Array  # [] int32, Metrics.bad_leaf of that step
    bad_cost: Array  # [] cost of that step


GroupedStep = Callable[[TrainState, Totals, tuple[Batch, ...]], tuple[TrainState, Totals, Array]]


class Dispatch(NamedTuple):
    """The compiled step of a run, and how many steps are dispatched at once."""

    run: GroupedStep
    rates: Callable[[Any], Array] | None  # updates made -> learning rate, if that is known
    no_steps: Totals  # totals over zero steps
    group: int


class Taken(NamedTuple):
    """What a stretch of steps leads to."""

    state: TrainState
    batch: Batch  # of the last step
    steps: int
    totals: Totals  # on the host
    seconds: float


def make_dispatch(
    task: Task,
    settings: ResolvedSettings,
    state: TrainState,
    batch: Batch,
    optimizer: optax.GradientTransformation | None = None,
) -> Dispatch:
    """Compile the step for batches like the first one."""
    compiled = settings._replace(**_NOT_COMPILED)
    programs = _programs(task, compiled, optimizer, (state, batch))
    traced = programs.step.trace(state, batch)
    check_same_form(traced.out_info[0].carry, state.carry)
    group = settings.dispatch or (1 if slow_in_loops(traced.jaxpr) else _GROUP)
    rates = programs.rates if optimizer is None else None
    return Dispatch(programs.run, rates, zero_totals(traced.out_info[1]), group)


# What no compiled program depends on.
_NOT_COMPILED = {
    "seed": 0,
    "dispatch": 0,
    "log_every": 1,
    "evaluate_every": 1,
    "checkpoint_every": 0,
}


class _Programs(NamedTuple):
    """Programs for one loss, and what it computed when they were made."""

    step: jax.stages.Wrapped
    run: GroupedStep
    rates: Callable[[Any], Array]
    taken: tuple[TrainState, Batch]  # shapes that `form` is for
    form: Hashable


def _programs(
    task: Task,
    settings: ResolvedSettings,
    optimizer: optax.GradientTransformation | None,
    taken: tuple[TrainState, Batch],
) -> _Programs:
    """Those of an earlier run, which a resumed or repeated one need not compile again.

    A loss may read what has changed since, in place too, so that it is traced anew, which takes a
    small part of the time, and must compute the same.
    """
    step = jax.jit(seeds_step(task.loss, task.terms, settings, optimizer))
    kept = _kept(hashable(task.loss), hashable(task.terms), settings, hashable(optimizer))
    for programs in kept:
        if _form_at(programs.taken, step) == programs.form:
            return programs
    run = jax.jit(grouped_step(step, settings.clip_norm), donate_argnums=(0, 1))
    taken = jax.tree.map(_shape, taken)
    form = form_of(step.trace(*taken).jaxpr)
    programs = _Programs(step, run, jax.jit(learning_rates(settings)), taken, form)
    kept[:] = [programs]
    return programs


@functools.lru_cache(maxsize=4)
def _kept(*_: Hashable) -> list[_Programs]:
    """A list for the programs that belong to the arguments, one at most."""
    return []


def _form_at(taken: tuple[TrainState, Batch], step: jax.stages.Wrapped) -> Hashable:
    """What a step computes at these shapes; None for one that does not take them."""
    try:
        return form_of(step.trace(*taken).jaxpr)
    except Exception:  # whatever a loss raises that takes other shapes by now
        return None


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    aval = jax.typeof(x)
    # With the axes of an explicit mesh, which the type of an array has.
    return jax.ShapeDtypeStruct(
        aval.shape, aval.dtype, weak_type=aval.weak_type, sharding=aval.sharding
    )


def take_steps(
    dispatch: Dispatch,
    state: TrainState,
    totals: Totals,
    batches: Iterator[Batch],
    count: int,
    interrupted: Callable[[], int],
) -> Taken:
    """Take `count` steps, or fewer on Ctrl-C, without waiting for each; add to the totals."""
    began = time.perf_counter()
    batch, taken = None, 0
    costs: deque[Array] = deque()
    for groups in grouped(batches, count, dispatch.group):
        for group in groups:
            state, totals, cost = dispatch.run(state, totals, group)
            taken += len(group)
            batch = group[-1]
            costs.append(cost)
            if len(costs) > _IN_FLIGHT:
                costs.popleft().block_until_ready()
        if interrupted():
            break
    totals = jax.device_get(totals)
    return Taken(state, batch, taken, totals, time.perf_counter() - began)


def grouped_step(step: TrainStep, clip_norm: float) -> GroupedStep:
    """`(state, totals, batches) -> (state, totals, last cost)`: one step for each batch.

    Several batches must have one shape; their steps run in a loop on the device.
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
    """Split `count` batches into groups of `size`, and batches of unequal shapes into single ones.

    The remainder comes one by one. The groups do not depend on where a run was stopped between two
    of the yielded items, so a resumed run computes bit-identical results.
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


def zero_totals(metrics: Metrics) -> Totals:
    """The totals over zero steps, as numpy arrays, for metrics of the given shapes."""
    sums = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), metrics)
    none: Any = np.zeros(metrics.cost.shape, np.int32)
    return Totals(none, none, sums.cost, sums.gradient_norm, sums.task, none, none, sums.cost)


def _added(totals: Totals, metrics: Metrics, step: Array, clip_norm: float) -> Totals:
    finite = metrics.bad_leaf == ALL_FINITE

    def add(total: Array, value: Array) -> Array:
        return total + jnp.where(finite, value, jnp.zeros_like(value)).astype(total.dtype)

    first = ~finite & (totals.bad_step == 0)
    return Totals(
        totals.finite + finite.astype(totals.finite.dtype),
        totals.clipped + (metrics.gradient_norm > clip_norm).astype(totals.clipped.dtype),
        add(totals.cost, metrics.cost),
        add(totals.gradient_norm, metrics.gradient_norm),
        jax.tree.map(add, totals.task, metrics.task),
        jnp.where(first, step, totals.bad_step),
        jnp.where(first, metrics.bad_leaf, totals.bad_leaf),
        jnp.where(first, metrics.cost, totals.bad_cost),
    )


def means(totals: Totals, steps: int) -> dict[str, Any]:
    """Mean metrics over the steps, for a log entry; NaN if no step was finite."""

    def mean(total: Array) -> np.ndarray:
        return np.where(totals.finite > 0, total / np.maximum(totals.finite, 1), np.nan)

    return {
        "cost": mean(totals.cost),
        "gradient_norm": mean(totals.gradient_norm),
        "clip_rate": np.asarray(totals.clipped) / steps,
        "training": jax.tree.map(mean, totals.task),
    }
