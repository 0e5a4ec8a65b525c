"""The loop of a training run: steps without a pause, and a look at them now and then."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._files import plain
from rnnjax._types import Array, Params
from rnnjax.experiments.tasks import Batch, Task
from rnnjax.experiments.training._callbacks import Callback
from rnnjax.experiments.training._checkpoints import Checkpoints
from rnnjax.experiments.training._log import Log, mean_of
from rnnjax.experiments.training._progress import Show
from rnnjax.experiments.training._settings import Settings, known, learning_rates
from rnnjax.experiments.training._start import task_step
from rnnjax.experiments.training._step import (
    TrainState,
    leaf_path,
    slow_in_loops,
)
from rnnjax.experiments.training._watch import Totals, figures, grouped, no_steps, watched

_GROUP = 10  # steps that are handed to the device at once
_IN_FLIGHT = 2  # of these, before one is waited for
_SAVING_SHARE = 0.05  # of the time, at most, where no interval is asked for


class Result(NamedTuple):
    """What `fit` returns. With several seeds, params and state have a leading axis of them."""

    params: Params  # what is evaluated: the running average where one is kept
    metrics: dict[str, Any]  # of the last evaluation: floats, or lists with one for each seed
    best: dict[str, Any]  # "step" and "value" of the (first) best evaluation, by the task's metric
    history: list[dict[str, Any]]  # the lines of metrics.jsonl
    state: TrainState
    seconds: float  # of training and evaluating, over all resumptions
    folder: Path | None


class Interrupted(KeyboardInterrupt):
    """Ctrl-C: the run has ended between two steps, its checkpoint written."""

    def __init__(self, message: str, result: Result) -> None:
        """Keep the result of the steps taken."""
        super().__init__(message)
        self.result = result


class Run:
    """One run's loop, and what it tells on the way."""

    def __init__(
        self,
        task: Task,
        settings: Settings,
        callbacks: Sequence[Callback] = (),
        checkpoints: Checkpoints | None = None,
        log: Log | None = None,
        history: Sequence[dict[str, Any]] = (),
        folder: Path | None = None,
    ) -> None:
        """Take resolved settings, and the history of the steps already taken."""
        self.task = task
        self.settings = settings
        self.history = list(history)
        self._callbacks = callbacks
        self._folder = folder
        self._checkpoints = checkpoints
        self._log = log
        self._saved = None if checkpoints is None else checkpoints.latest()
        scores = (self._score(entry) for entry in self.history if "evaluation" in entry)
        self._best = max(scores, default=-math.inf)
        self._next_save = 0.0  # on the clock, where no interval is asked for
        self._earlier = self.history[-1]["seconds"] if self.history else 0.0
        self._begin = time.perf_counter()
        self._step = task_step(task, settings)
        steps = watched(self._step, known(settings.clip_norm))
        self._watched = jax.jit(steps, donate_argnums=(0, 1))
        self._rate = jax.jit(learning_rates(settings))

    def train(
        self, state: TrainState, batches: Iterator[Batch], pressed: Callable[[], bool], show: Show
    ) -> Result:
        """Take the steps that are left."""
        step, steps = steps_taken(state), known(self.settings.steps)
        batches = self._prepared(state, batches) if step < steps else batches
        while step < steps and not pressed():
            began, end = time.perf_counter(), self._next_stop(step)
            state, batch, taken, totals = self._advance(state, batches, end - step, pressed)
            self._check_finite(totals, state)
            step += taken
            entry = {
                "step": step,
                **figures(totals, taken),
                "learning_rate": self._last_rate(step, state),
                "steps_per_second": taken / (time.perf_counter() - began),
            }
            self._look(step, state, batch, entry)
            show(entry)
        if step < steps:
            self._save(step, state, None)
            raise Interrupted(self._farewell(step), self.result(state))
        return self.result(state)

    def _prepared(self, state: TrainState, batches: Iterator[Batch]) -> Iterator[Batch]:
        """See from the first batch what the steps return, and how many to take at once."""
        first = next(batches)
        traced = self._step.trace(state, first)
        self._none = no_steps(traced.out_info[1])
        self._group = self.settings.dispatch or (1 if slow_in_loops(traced.jaxpr) else _GROUP)
        return chain([first], batches)

    def result(self, state: TrainState) -> Result:
        """What there is to tell about the steps taken."""
        evaluations = [entry for entry in self.history if "evaluation" in entry]
        best = max(evaluations, key=self._score, default=None)
        name = self.task.metric.name
        return Result(
            evaluated(state),
            evaluations[-1]["evaluation"] if evaluations else {},
            {"step": best["step"], "value": best["evaluation"][name]} if best else {},
            self.history,
            state,
            self._seconds(),
            self._folder,
        )

    def _last_rate(self, step: int, state: TrainState) -> Array:
        """The learning rate of the last update that was made; of several seeds each one's."""
        if not self.settings.skip_nonfinite:
            return self._rate(step - 1)
        return self._rate(jnp.maximum(step - 1 - state.skipped, 0))

    def _next_stop(self, step: int) -> int:
        """The step after which to look up next."""
        settings = self.settings
        intervals = [settings.log_every, settings.evaluate_every, settings.checkpoint_every]
        intervals += [callback.every for callback in self._callbacks]
        stops = ((step // every + 1) * every for every in intervals if every is not None)
        return min(known(settings.steps), *stops)

    def _advance(
        self, state: TrainState, batches: Iterator[Batch], count: int, pressed: Callable[[], bool]
    ) -> tuple[TrainState, Batch, int, Totals]:
        """Take `count` steps, or fewer at Ctrl-C, without waiting for each; say how many."""
        totals, batch, taken = self._none, None, 0
        costs: deque[Array] = deque()
        for groups in grouped(batches, count, self._group):
            for group in groups:
                state, totals, cost = self._watched(state, totals, group)
                taken += len(group)
                batch = group[-1]
                costs.append(cost)
                if len(costs) > _IN_FLIGHT:
                    costs.popleft().block_until_ready()
            if pressed():
                break
        return state, batch, taken, jax.device_get(totals)

    def _look(self, step: int, state: TrainState, batch: Batch, entry: dict[str, Any]) -> None:
        """Evaluate, call back, log and save, each where it is due."""
        settings, last = self.settings, step == self.settings.steps
        if settings.skip_nonfinite:
            entry["skipped"] = state.skipped
        score = None
        if last or step % known(settings.evaluate_every) == 0:
            entry["evaluation"] = self._evaluate(evaluated(state))
            score = self._score(entry)
        found: dict[str, float] = {}
        for callback in self._callbacks:
            if step % callback.every == 0:
                found.update(callback(step, *self._first(state, batch), self.task))
        if found:
            entry["callbacks"] = found
        entry["seconds"] = self._seconds()
        entry.update(plain(jax.tree.map(np.asarray, entry)))
        self.history.append(entry)
        if self._log is not None:
            self._log.write(entry)
        is_best = score is not None and score > self._best
        if last or is_best or self._is_due(step, score is not None):
            self._save(step, state, score if is_best else None)
        if score is not None:
            self._best = max(self._best, score)

    def _evaluate(self, params: Params) -> dict[str, Any]:
        if self.settings.seeds == 1:
            return {name: float(value) for name, value in self.task.evaluate(params).items()}
        each = [
            self.task.evaluate(jax.tree.map(lambda x, n=n: x[n], params))
            for n in range(self.settings.seeds)
        ]
        return {name: [float(found[name]) for found in each] for name in each[0]}

    def _score(self, entry: dict[str, Any]) -> float:
        """More is better; of several seeds the mean; NaN counts as the worst."""
        value = mean_of(entry["evaluation"][self.task.metric.name])
        if math.isnan(value):
            return -math.inf
        return value if self.task.metric.goal == "max" else -value

    def _first(self, state: TrainState, batch: Batch) -> tuple[TrainState, Batch]:
        """The state and batch of the first seed, and of its first accumulated batch."""
        if self.settings.seeds > 1:
            state, batch = jax.tree.map(lambda x: x[0], (state, batch))
        if self.settings.accumulate > 1:
            batch = jax.tree.map(lambda x: x[0], batch)
        return state, batch

    def _is_due(self, step: int, is_evaluated: bool) -> bool:
        """Whether to save: at the interval asked for, else at evaluations, if it costs little."""
        if self.settings.checkpoint_every is not None:
            return step % self.settings.checkpoint_every == 0
        return is_evaluated and time.perf_counter() >= self._next_save

    def _save(self, step: int, state: TrainState, score: float | None) -> None:
        if self._checkpoints is None or self._saved == step:
            return
        if not _all_finite(state.params):
            raise FloatingPointError(f"step {step}: the params hold NaN or Inf. {self._lower()}")
        began = time.perf_counter()
        self._checkpoints.save(step, state, score)
        self._saved, ended = step, time.perf_counter()
        self._next_save = ended + (ended - began) / _SAVING_SHARE

    def _check_finite(self, totals: Totals, state: TrainState) -> None:
        """Stop at the first step whose cost or gradient was not finite."""
        steps = np.atleast_1d(totals.bad_step)
        if self.settings.skip_nonfinite or not steps.any():
            return
        seed = int(np.argmin(np.where(steps > 0, steps, np.iinfo(steps.dtype).max)))
        path = leaf_path(state.params, int(np.atleast_1d(totals.bad_leaf)[seed]))
        where = "the cost" if path is None else f"the gradient of params{path}"
        of_seed = f" of seed {self.settings.seed + seed}" if steps.size > 1 else ""
        raise FloatingPointError(
            f"step {steps[seed]}{of_seed}: {where} holds NaN or Inf (cost "
            f"{np.atleast_1d(totals.bad_cost)[seed]:.4g}). {self._advice()}"
        )

    def _advice(self) -> str:
        skip = "leave such updates out with skip_nonfinite"
        if self._saved is None:
            return f"{self._lower()}, or {skip}"
        return f"{self._lower()}, or resume this run and {skip}"

    def _lower(self) -> str:
        elsewhere = "" if self._saved is None else ", in another folder"
        return f"{self._last_checkpoint()}. Lower learning_rate or clip_norm{elsewhere}"

    def _last_checkpoint(self) -> str:
        if self._checkpoints is None or self._saved is None:
            return "There is no checkpoint"
        return f"The last checkpoint is {self._checkpoints.folder / str(self._saved)}"

    def _farewell(self, step: int) -> str:
        message = f"interrupted after step {step} of {self.settings.steps}"
        return message if self._checkpoints is None else f"{message}. {self._last_checkpoint()}"

    def _seconds(self) -> float:
        return self._earlier + time.perf_counter() - self._begin


def evaluated(state: TrainState) -> Params:
    """The params to evaluate: the running average where one is kept."""
    return state.params if state.average is None else state.average


def steps_taken(state: TrainState) -> int:
    return int(np.max(state.step))


@jax.jit
def _all_finite(params: Params) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(params)]))
