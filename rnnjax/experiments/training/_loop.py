"""The training loop: take steps, and pause to evaluate, call back, log and save."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax._names import option
from rnnjax._types import Array, Params
from rnnjax.experiments.tasks import Batch, Task
from rnnjax.experiments.training._callbacks import Callback, call_all
from rnnjax.experiments.training._dispatch import (
    Dispatch,
    Taken,
    Totals,
    make_dispatch,
    means,
    take_steps,
)
from rnnjax.experiments.training._record import Record, evaluated_params
from rnnjax.experiments.training._returned import scores_of
from rnnjax.experiments.training._settings import ResolvedSettings
from rnnjax.experiments.training._step import TrainState, leaf_path
from rnnjax.experiments.training._terminal import Show


def train(
    task: Task,
    settings: ResolvedSettings,
    state: TrainState,
    batches: Iterator[Batch],
    record: Record,
    *,
    callbacks: Sequence[Callback],
    interrupted: Callable[[], int],
    show: Show,
    optimizer: optax.GradientTransformation | None = None,
) -> tuple[TrainState, Totals | None, str | None]:
    """Take the remaining steps, or fewer: once `interrupted` returns a signal, or a callback stops.

    Args:
      task: what to train.
      settings: how.
      state: before the next step.
      batches: one for each remaining step.
      record: where entries and checkpoints go.
      callbacks: each is called at its own interval.
      interrupted: the number of the signal that was received; 0: none.
      show: called with every log entry.
      optimizer: in place of the one that the settings name.

    Returns:
      The state; totals over the steps since the last entry, None at an entry; and why a callback
      stopped, if one did before the last step.

    Raises:
      FloatingPointError: NaN or Inf in a cost, its gradient, or the params of a checkpoint.
    """
    step = steps_taken(state)
    stopped = None
    if step >= settings.steps:
        return state, None, stopped
    first = next(batches)
    dispatch = make_dispatch(task, settings, state, first, optimizer)
    batches = chain([first], batches)
    if step == 0 and not record.history and not interrupted():
        stopped = _add_start(task, settings, state, first, record, callbacks)
    totals = record.restored_totals(dispatch.no_steps)
    while step < settings.steps and not stopped and not interrupted():
        stop = _next_stop(step, settings, callbacks)
        taken = take_steps(dispatch, state, totals, batches, stop - step, interrupted)
        _check_finite(taken, settings, record)
        state, step, totals = taken.state, step + taken.steps, taken.totals
        if step < stop:
            break
        entry = {
            "step": step,
            **means(totals, step - record.last_step),
            **_learning_rate(dispatch, step, state, settings),
            "steps_per_second": taken.steps / taken.seconds,
        }
        stopped = _observe(entry, taken, task, settings, record, callbacks)
        logged = record.add(entry)
        record.save_if_due(logged, state, is_last=bool(stopped) or step == settings.steps)
        show(logged)
        totals = dispatch.no_steps
    return state, totals if step > record.last_step else None, stopped


def _add_start(
    task: Task,
    settings: ResolvedSettings,
    state: TrainState,
    batch: Batch,
    record: Record,
    callbacks: Sequence[Callback],
) -> str | None:
    """Add an entry of what is measured before the first step, if anything is; why one stopped."""
    due = [each for each in callbacks if getattr(each, "at_start", False)]
    if not due:
        return None
    entry = {"step": 0, "cost": None}
    first = _first(state, batch, settings)
    returned, stopped = call_all(due, 0, *first, task, partial(record.with_entry, entry))
    record.add({**entry, "callbacks": returned})
    if stopped:
        record.save(0, state)
    return stopped


def steps_taken(state: TrainState) -> int:
    """The number of steps taken, the same for all seeds."""
    return int(np.max(state.step))


def _next_stop(step: int, settings: ResolvedSettings, callbacks: Sequence[Callback]) -> int:
    """The step at which something is next due."""
    intervals = [settings.log_every, settings.evaluate_every]
    intervals += [callback.every for callback in callbacks if callback.every is not None]
    if settings.checkpoint_every:
        intervals.append(settings.checkpoint_every)
    return min(settings.steps, *((step // every + 1) * every for every in intervals))


def _learning_rate(
    dispatch: Dispatch, step: int, state: TrainState, settings: ResolvedSettings
) -> dict[str, Any]:
    """The learning rate of the last step, for a log entry, if it is known."""
    if dispatch.rates is None:
        return {}
    return {"learning_rate": dispatch.rates(_updates(step, state, settings) - 1)}


def _updates(step: int, state: TrainState, settings: ResolvedSettings) -> Array | int:
    """The number of updates made, at least 1, for each seed where updates may be skipped."""
    return jnp.maximum(step - state.skipped, 1) if settings.skip_nonfinite else step


def _observe(
    entry: dict[str, Any],
    taken: Taken,
    task: Task,
    settings: ResolvedSettings,
    record: Record,
    callbacks: Sequence[Callback],
) -> str | None:
    """Add to a log entry what not every entry has; why a callback stopped, if one did."""
    step, last = entry["step"], entry["step"] == settings.steps
    if settings.skip_nonfinite:
        entry["skipped"] = taken.state.skipped

    def evaluate() -> None:
        entry["evaluation"] = _evaluate(task, evaluated_params(taken.state), settings.seeds)

    if last or step % settings.evaluate_every == 0:
        evaluate()
    due = [each for each in callbacks if _is_due(each, step, "evaluation" in entry)]
    if not due:
        return None
    first = _first(taken.state, taken.batch, settings)
    returned, stopped = call_all(due, step, *first, task, partial(record.with_entry, entry))
    if returned:
        entry["callbacks"] = returned
    if stopped and "evaluation" not in entry:
        evaluate()
    return None if last else stopped


def _is_due(callback: Callback, step: int, evaluated: bool) -> bool:
    return evaluated if callback.every is None else step % callback.every == 0


def _evaluate(task: Task, params: Params, seeds: int) -> dict[str, Any]:
    if seeds == 1:
        return scores_of(task, params)
    each = [scores_of(task, jax.tree.map(lambda x, n=n: x[n], params)) for n in range(seeds)]
    return {name: [found[name] for found in each] for name in each[0]}


def _first(state: TrainState, batch: Batch, settings: ResolvedSettings) -> tuple[TrainState, Batch]:
    """The state and batch of the first seed, and of its first accumulated batch."""
    if settings.seeds > 1:
        state, batch = jax.tree.map(lambda x: x[0], (state, batch))
    if settings.accumulate > 1:
        batch = jax.tree.map(lambda x: x[0], batch)
    return state, batch


def _check_finite(taken: Taken, settings: ResolvedSettings, record: Record) -> None:
    """Raise FloatingPointError naming the first step whose cost or gradient was not finite."""
    totals = taken.totals
    steps = np.atleast_1d(totals.bad_step)
    if settings.skip_nonfinite or not steps.any():
        return
    seed = int(np.argmin(np.where(steps > 0, steps, np.iinfo(steps.dtype).max)))
    path = leaf_path(taken.state.params, int(np.atleast_1d(totals.bad_leaf)[seed]))
    where = "the cost" if path is None else f"the gradient of params{path}"
    of_seed = f" of seed {settings.seed + seed}" if steps.size > 1 else ""
    resume = "resume this run and " if record.has_checkpoint else ""
    raise FloatingPointError(
        f"step {steps[seed]}{of_seed}: {where} holds NaN or Inf (cost "
        f"{np.atleast_1d(totals.bad_cost)[seed]:.4g}). {record.last_checkpoint}. "
        f"{record.advice()}, or {resume}skip such updates with {option('skip_nonfinite', True)}"
    )
