"""What a run keeps: its history and log, the best score, and when to write checkpoints."""

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._files import plain
from rnnjax._names import option
from rnnjax._types import Array, Params, PyTree
from rnnjax.experiments._order import natural
from rnnjax.experiments.tasks import Task
from rnnjax.experiments.training._checkpoints import Checkpoints, Saved
from rnnjax.experiments.training._log import Log, logged_mean, logged_values
from rnnjax.experiments.training._step import TrainState

_SAVING_SHARE = 0.05  # of the time spent on checkpoints, at most, where no interval is given


class Result(NamedTuple):
    """What `fit` returns. With several seeds, params and state have a leading axis."""

    params: Params  # as evaluated: the exponential moving average if one is kept
    metrics: dict[str, Any]  # of the last evaluation: floats, or lists with one for each seed
    best: dict[str, Any]  # "step" and "value" of the metric at the best evaluation, see Task.select
    history: list[dict[str, Any]]  # the lines of metrics.jsonl, in which NaN is None
    state: TrainState
    seconds: float  # of training and evaluation, over all resumptions
    folder: Path | None
    stopped: str | None = None  # why a callback ended the run, if one did

    def __repr__(self) -> str:
        """Without arrays."""
        said = f"metrics={self.metrics}, best={self.best}, seconds={self.seconds:.3g}"
        stopped = f", stopped={self.stopped!r}" if self.stopped else ""
        return f"Result({said}, folder={self.folder}{stopped}, ...)"


class Record:
    """The record of one run, in memory and, with a log and checkpoints, on disk."""

    def __init__(
        self,
        task: Task,
        checkpoint_every: int = 0,
        checkpoints: Checkpoints | None = None,
        log: Log | None = None,
        history: Sequence[dict[str, Any]] = (),
        saved: Saved | None = None,
    ) -> None:
        """Continue from the history of the steps already taken."""
        self.history = list(history)
        self._task = task
        self._checkpoint_every = checkpoint_every
        self._checkpoints = checkpoints
        self._log = log
        self._saved = None if saved is None else saved.step
        scores = (score_of(task, entry) for entry in self.history if "evaluation" in entry)
        self._best = max(scores, default=-math.inf)
        self._saved_at = -math.inf  # by the clock
        earlier = 0.0 if saved is None else saved.about["seconds"]
        self._began = time.perf_counter() - earlier

    @property
    def seconds(self) -> float:
        """Time spent so far, over all resumptions."""
        return time.perf_counter() - self._began

    @property
    def has_checkpoint(self) -> bool:
        """Whether any state has been saved."""
        return self._saved is not None

    @property
    def last_checkpoint(self) -> str:
        """A sentence that says where the last checkpoint is."""
        if self._checkpoints is None or self._saved is None:
            return "There is no checkpoint"
        return f"The last checkpoint is {self._checkpoints.path(self._saved)}"

    @property
    def last_step(self) -> int:
        """The step of the last entry; 0 if there is none."""
        return self.history[-1]["step"] if self.history else 0

    def restored_totals(self, like: PyTree) -> PyTree:
        """The totals since the last entry, as saved when the run was interrupted."""
        if self._checkpoints is None or self._saved is None:
            return like
        return self._checkpoints.restore_totals(self._saved, like)

    def with_entry(self, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The history, and an entry that will be added to it, as plain Python values."""
        return [*self.history, plain(_ordered(entry))]

    def add(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Append an entry to the history and the log; returns it as plain Python values."""
        logged = plain(_ordered({**entry, "seconds": self.seconds}))
        self.history.append(logged)
        if self._log is not None:
            self._log.write(logged)
        return logged

    def save_if_due(self, entry: Mapping[str, Any], state: TrainState, is_last: bool) -> None:
        """Write a checkpoint after the last step, after the best evaluation, or at its interval."""
        step, is_evaluated = entry["step"], "evaluation" in entry
        score = score_of(self._task, entry) if is_evaluated else -math.inf
        is_best = score > self._best
        if is_last or is_best or self._is_due(step, is_evaluated):
            self.save(step, state, score if is_best else None)
        self._best = max(self._best, score)

    def save(
        self, step: int, state: TrainState, score: float | None = None, totals: PyTree = None
    ) -> None:
        """Write a checkpoint, unless there is one of this step or the run has no folder.

        `totals` are those since the last entry, if the step is between two.
        """
        if self._checkpoints is None or self._saved == step:
            return
        if not _all_finite(state.params):
            raise FloatingPointError(
                f"step {step}: the params hold NaN or Inf. {self.last_checkpoint}. {self.advice()}"
            )
        if self._log is not None:
            self._log.synchronise()  # a run that is resumed relies on the lines up to this step
        self._checkpoints.save(step, state, score, totals, self.seconds)
        self._saved, self._saved_at = step, time.perf_counter()

    def advice(self) -> str:
        """What to change after NaN or Inf."""
        elsewhere = ", in another folder" if self.has_checkpoint else ""
        return f"Lower {option('learning_rate')} or {option('clip_norm')}{elsewhere}"

    def result(self, state: TrainState, folder: Path | None, stopped: str | None = None) -> Result:
        """The result of the steps taken so far, and why they are not all."""
        evaluations = [entry for entry in self.history if "evaluation" in entry]
        best = max(evaluations, key=partial(score_of, self._task), default=None)
        name = self._task.metric.name
        return Result(
            evaluated_params(state),
            _floats(evaluations[-1]["evaluation"]) if evaluations else {},
            {"step": best["step"], **_floats({"value": best["evaluation"][name]})} if best else {},
            self.history,
            state,
            self.seconds,
            folder,
            stopped,
        )

    def _is_due(self, step: int, is_evaluated: bool) -> bool:
        if self._checkpoint_every:
            return step % self._checkpoint_every == 0
        if not is_evaluated or self._checkpoints is None:
            return False
        wait = self._checkpoints.seconds_spent() / _SAVING_SHARE
        return time.perf_counter() >= self._saved_at + wait


def score_of(task: Task, entry: Mapping[str, Any]) -> float:
    """How good an evaluation was, higher is better: the mean over seeds; NaN is the worst."""
    metric = task.select or task.metric
    value = logged_mean(entry["evaluation"][metric.name])
    if math.isnan(value):
        return -math.inf
    return value if metric.goal == "max" else -value


def _floats(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Logged scores as floats, or lists of them: null as NaN, "inf" as infinity."""
    return {
        name: logged_values(each).tolist() if isinstance(each, list) else logged_mean(each)
        for name, each in scores.items()
    }


def _ordered(value: Any) -> Any:
    """Names in order, numbers in them by size, and NumPy arrays for those of JAX."""
    if isinstance(value, Mapping):
        return {name: _ordered(value[name]) for name in sorted(value, key=natural)}
    return jax.tree.map(np.asarray, value)


def evaluated_params(state: TrainState) -> Params:
    """The params to evaluate: the exponential moving average if one is kept."""
    return state.params if state.average is None else state.average


@jax.jit
def _all_finite(params: Params) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(params)]))
