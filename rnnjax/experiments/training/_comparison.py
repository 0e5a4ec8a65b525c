"""Compare recurrent cells: train each on the same task, and measure its gradient flow."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax._arguments import checked_arguments
from rnnjax._checks import check_choice
from rnnjax._types import Cell, Params
from rnnjax.cells import ActivationName
from rnnjax.experiments.tasks import CELLS, TASKS, Batch, Metric, Recipe, Recurrence, Task
from rnnjax.experiments.training._fit import fit
from rnnjax.experiments.training._flow import FlowMeasures, measure_flow
from rnnjax.experiments.training._log import logged_values
from rnnjax.experiments.training._settings import Settings, resolve
from rnnjax.experiments.training._setup import initial_state
from rnnjax.experiments.training._step import TrainState
from rnnjax.flow import pascanu_bound

_EVALUATIONS = 30  # at most, in one run
_COST_EVERY = 10  # steps that are averaged into one point of the cost curve
GRADIENTS = ("bptt", "autodiff")
"""What `ComparisonSettings.gradient` may name."""
SINGLE_LAYER = {"layers": 1, "bidirectional": False}
"""Options that every compared task is made with, where its factory has them."""

Progress = Callable[[int], None]  # called with the number of steps just taken


class Contender(NamedTuple):
    """How one of the compared cells is trained and reported."""

    activation: ActivationName | None = None  # of a vanilla cell, for Pascanu's bound
    rate_scale: float = 1.0  # peak learning rate over that of the task's recipe
    initial_weights: str = "orthogonal"  # distribution of the recurrent weights, in words


CONTENDERS: dict[str, Contender] = {
    "vanilla": Contender("tanh", initial_weights="uniform on ±1/√H"),
    # At full rate all ReLU units die on the digits: 10 % accuracy, zero gradient, on three seeds.
    "irnn": Contender("relu", rate_scale=0.1, initial_weights="identity"),
    "identity_rnn": Contender(initial_weights="identity, fixed"),
    "lstm_1997": Contender(),
    "lstm": Contender(),
    "gru": Contender(),
}
"""The cells that `rnnjax compare` trains, by their names in `rnnjax.tasks.CELLS`."""


class ComparisonSettings(NamedTuple):
    """What all compared cells have in common, besides the task."""

    hidden: int = 64
    steps: int = 1500
    clip: float = 1.0  # global norm of the gradient
    seeds: int = 1
    seed: int = 0
    flow_examples: int = 32  # sequences that gradient flow is measured on
    gradient: str = "bptt"  # one of GRADIENTS


class CellResult(NamedTuple):
    """One cell's learning curves, and its gradient flow before and after training."""

    scores: np.ndarray  # [seeds] final held-out metric; accuracy is in [0, 1]
    cost: np.ndarray  # [seeds, ceil(steps/cost_every)] training cost
    curve_steps: np.ndarray  # [evaluations] steps taken before each evaluation
    curve: np.ndarray  # [seeds, evaluations] held-out metric
    before: FlowMeasures  # of the first seed
    after: FlowMeasures
    bounds: tuple[float, float] | None  # σ_max(W_h) γ before and after; vanilla cells only
    milliseconds: float  # median time of a training step of all seeds together
    metric: Metric = Metric("accuracy", "max")
    cost_every: int = 1  # steps averaged into each entry of `cost`


class NoRecurrenceError(ValueError):
    """The task does not expose its recurrent cell."""


@checked_arguments
def comparison_task(
    name: str, cell: str, hidden: int, options: Mapping[str, Any], gradient: str = "bptt"
) -> Task:
    """Make a task whose model has one unidirectional recurrent layer of the given cell.

    Args:
      name: a key of `TASKS`.
      cell: a key of `CONTENDERS`.
      hidden: hidden units of the layer.
      options: further options of the task's factory; its cell, hidden units, number of layers and
        directions are overridden.
      gradient: "bptt" for the cell's hand-derived backward pass, or "autodiff".

    Raises:
      NoRecurrenceError: a ValueError; the task does not expose its recurrent cell.
      ValueError: an unknown name, or any error of the factory.
    """
    make: Callable[..., Task] = TASKS[check_choice("task", name, TASKS)].make
    check_choice("gradient", gradient, GRADIENTS)
    accepted = inspect.signature(make).parameters
    single = {option: value for option, value in SINGLE_LAYER.items() if option in accepted}
    compared = cell if gradient == "bptt" else _without_rule(cell)
    task = make(**{**options, **single, "cell": compared, "hidden": hidden})
    _recurrence_of(task)
    return task


def _without_rule(cell: str) -> Callable[[int], Cell]:
    """A factory of the cell without its hand-derived rule, which leaves autodiff."""
    make = CELLS[check_choice("cell", cell, CELLS)]
    return lambda hidden: make(hidden)._replace(rule=None)


@checked_arguments
def peak_learning_rate(cell: str, recipe: Recipe) -> float:
    """The recipe's peak learning rate, or a tenth of it for the IRNN."""
    return recipe.learning_rate * CONTENDERS[check_choice("cell", cell, CONTENDERS)].rate_scale


@checked_arguments
def train_and_measure(
    cell: str, task: Task, settings: ComparisonSettings, progress: Progress = lambda steps: None
) -> CellResult:
    """Train a task, and measure the gradient flow of its cell before and after.

    Trained by `fit` with Adam, at the peak rate of the task's recipe (a tenth of it for the IRNN),
    and clipped by global norm. Seeds are vmapped, and draw the same batches for every cell.
    Gradient flow is measured on the batch that follows the last training batch, for the first seed.

    Args:
      cell: a key of `CONTENDERS`, the cell that the task was made with.
      task: made by `comparison_task`.
      settings: steps, clip, seeds and flow_examples are used; the rest is fixed by the task.
      progress: called during training with the number of steps just taken.
    """
    fit_settings = _fit_settings(cell, task, settings)
    full = resolve(fit_settings, task.recipe)
    batch = task.batches(settings.seed)[settings.steps]
    net_before = _first_net(task, initial_state(task, full), batch, settings.seeds)
    before = measure_flow(net_before, settings.flow_examples)
    report = _Reporting(full.evaluate_every, progress)
    result = fit(task, fit_settings, callbacks=[report], quiet=True)
    if rest := settings.steps % report.every:
        progress(rest)
    net_after = _first_net(task, result.state, batch, settings.seeds)
    evaluations = [entry for entry in result.history if "evaluation" in entry]
    scores = [logged_values(entry["evaluation"][task.metric.name]) for entry in evaluations]
    return CellResult(
        scores[-1],
        np.stack([logged_values(entry["cost"]) for entry in result.history], axis=1),
        np.array([entry["step"] for entry in evaluations]),
        np.stack(scores, axis=1),
        before,
        measure_flow(net_after, settings.flow_examples),
        _bounds(cell, net_before, net_after),
        1e3 * float(np.median([1 / entry["steps_per_second"] for entry in result.history])),
        task.metric,
        full.log_every,
    )


def _fit_settings(cell: str, task: Task, settings: ComparisonSettings) -> Settings:
    evaluate_every = -(-settings.steps // (_EVALUATIONS * _COST_EVERY)) * _COST_EVERY
    return Settings(
        steps=settings.steps,
        learning_rate=peak_learning_rate(cell, task.recipe),
        optimizer="adam",
        weight_decay=0.0,
        clip_norm=settings.clip,
        average=0.0,
        seed=settings.seed,
        seeds=settings.seeds,
        evaluate_every=evaluate_every,
        log_every=_COST_EVERY,
    )


class _Reporting(NamedTuple):
    """A callback that reports how many steps were taken."""

    every: int
    progress: Progress

    def __call__(
        self, step: int, state: TrainState, batch: Batch, task: Task, /
    ) -> dict[str, float]:
        self.progress(self.every)
        return {}


def _first_net(task: Task, state: TrainState, batch: Batch, seeds: int) -> Recurrence:
    params = state.params if seeds == 1 else jax.tree.map(lambda x: x[0], state.params)
    return _recurrence_of(task)(params, batch)


def _recurrence_of(task: Task) -> Callable[[Params, Batch], Recurrence]:
    if task.recurrence is None:
        raise NoRecurrenceError(
            f"task {task.name!r} does not expose its recurrent cell: there is nothing to compare"
        )
    return task.recurrence


def _bounds(cell: str, before: Recurrence, after: Recurrence) -> tuple[float, float] | None:
    activation = CONTENDERS[cell].activation
    if activation is None:
        return None
    start, end = (pascanu_bound(net.params.w_h, activation).product for net in (before, after))
    return start, end
