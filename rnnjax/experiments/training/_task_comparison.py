"""Train one cell among others on any task, and measure its gradient flow before and after."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from rnnjax._checks import check_choice
from rnnjax._types import Params
from rnnjax.experiments.tasks import TASKS, Batch, Recurrence, Task
from rnnjax.experiments.training._comparison import (
    CONTENDERS,
    CellResult,
    ComparisonSettings,
    Progress,
)
from rnnjax.experiments.training._fit import fit
from rnnjax.experiments.training._flow import measure_recurrence
from rnnjax.experiments.training._log import numbers
from rnnjax.experiments.training._settings import Settings, known, resolved
from rnnjax.experiments.training._start import initial_state
from rnnjax.experiments.training._step import TrainState
from rnnjax.flow import pascanu_bound

_EVALUATIONS = 30  # at most, of a run
_COST_EVERY = 10  # steps
_COMMON_RATE = 1e-2  # the contenders' own rates are relative to it
# What a factory is asked for where it has the option: one cell that reads forwards.
PLAIN = {"layers": 1, "both_ways": False}


class NoRecurrenceError(ValueError):
    """A task does not say what its recurrence is."""


def comparable_task(name: str, cell: str, hidden: int, options: Mapping[str, Any]) -> Task:
    """A task with one recurrent layer of a cell that reads forwards.

    Args:
      name: a key of `TASKS`.
      cell: a key of `CONTENDERS`.
      hidden: units of the layer.
      options: others of the task's factory; the cell, its size and its layers are not among them.

    Raises:
      NoRecurrenceError: a ValueError; the task does not say what its recurrence is.
      ValueError: an unknown name, or what the factory raises.
    """
    make: Callable[..., Task] = TASKS[check_choice("task", name, TASKS)].make
    taken = inspect.signature(make).parameters
    plain = {option: value for option, value in PLAIN.items() if option in taken}
    task = make(**{**options, **plain, "cell": cell, "hidden": hidden})
    _recurrence_of(task)
    return task


def peak_rate(name: str, task: Task) -> float:
    """The learning rate at its peak of a contender: the task's own, a tenth of it for the IRNN."""
    return task.recipe.learning_rate * CONTENDERS[name].learning_rate / _COMMON_RATE


def train_and_measure_on(
    name: str, task: Task, settings: ComparisonSettings, progress: Progress = lambda steps: None
) -> CellResult:
    """Train a task with the contender's optimiser, and measure its flow before and after.

    By Adam at the peak rate of the task's recipe, or a tenth of it for the IRNN; clipped by global
    norm. Seeds are vmapped, and draw the same data for every cell. Gradient flow is measured on
    the batch that follows the last one of training, for the first seed.

    Args:
      name: a key of `CONTENDERS`, of the cell that the task was made with.
      task: by `comparable_task`.
      settings: steps, clip, seeds and flow_examples; what else there is belongs to the task.
      progress: called with the number of steps just finished.
    """
    full = resolved(_settings(name, task, settings), task.recipe)
    batch = task.batches(settings.seed)[settings.steps]
    net_before = _first_net(task, initial_state(task, full), batch, settings.seeds)
    before = measure_recurrence(net_before, settings.flow_examples)
    result = fit(
        task, full, callbacks=[_Reporting(known(full.evaluate_every), progress)], quiet=True
    )
    net_after = _first_net(task, result.state, batch, settings.seeds)
    evaluations = [entry for entry in result.history if "evaluation" in entry]
    curve = np.stack(
        [numbers(entry["evaluation"][task.metric.name]) for entry in evaluations], axis=1
    )
    return CellResult(
        curve[:, -1],
        np.stack([numbers(entry["cost"]) for entry in result.history], axis=1),
        np.array([entry["step"] for entry in evaluations]),
        curve,
        before,
        measure_recurrence(net_after, settings.flow_examples),
        _bounds(name, net_before, net_after),
        1e3 * float(np.median([1 / entry["steps_per_second"] for entry in result.history])),
        task.metric,
        known(full.log_every),
    )


def _settings(name: str, task: Task, settings: ComparisonSettings) -> Settings:
    apart = -(-settings.steps // (_EVALUATIONS * _COST_EVERY)) * _COST_EVERY
    return Settings(
        steps=settings.steps,
        learning_rate=peak_rate(name, task),
        optimizer="adam",
        weight_decay=0.0,
        clip_norm=settings.clip,
        average=0.0,
        seed=settings.seed,
        seeds=settings.seeds,
        evaluate_every=apart,
        log_every=_COST_EVERY,
    )


class _Reporting:
    """A callback that passes on how many steps were taken."""

    def __init__(self, every: int, progress: Progress) -> None:
        self.every = every
        self._progress = progress

    def __call__(
        self, step: int, state: TrainState, batch: Batch, task: Task, /
    ) -> dict[str, float]:
        self._progress(self.every)
        return {}


def _first_net(task: Task, state: TrainState, batch: Batch, seeds: int) -> Recurrence:
    params = state.params if seeds == 1 else jax.tree.map(lambda x: x[0], state.params)
    return _recurrence_of(task)(params, batch)


def _recurrence_of(task: Task) -> Callable[[Params, Batch], Recurrence]:
    if task.recurrence is None:
        raise NoRecurrenceError(
            f"task {task.name!r} does not say what its recurrence is: nothing to compare"
        )
    return task.recurrence


def _bounds(name: str, before: Recurrence, after: Recurrence) -> tuple[float, float] | None:
    activation = CONTENDERS[name].activation
    if activation is None:
        return None
    start, end = (pascanu_bound(net.params.w_h, activation).product for net in (before, after))
    return start, end
