"""Callbacks of `fit`: their protocol, early stopping, and gradient flow during training."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

from rnnjax import flow
from rnnjax._arguments import check_flag, checked_arguments
from rnnjax._checks import check_positive_int
from rnnjax._types import Params
from rnnjax.experiments.tasks import Batch, Task
from rnnjax.experiments.training._record import score_of
from rnnjax.experiments.training._returned import as_logged, callback_returned
from rnnjax.experiments.training._step import TrainState


@runtime_checkable
class Callback(Protocol):
    """Called by `fit` at an interval; what it returns is logged with that step's metrics.

    The state is the one after the step, and the batch the one of the step (of the first seed and
    the first accumulated batch, if there are several). The buffers of the state are donated to the
    next step, so copy what you keep.

    One with a true attribute `at_start` is also called once before the first step, as step 0, with
    the first batch. Its entry has no cost: null.

    One with a parameter `history` is passed the lines of metrics.jsonl so far. The last one is that
    of this step, with its `evaluation` if there is one.

    One that raises `StopTraining` ends the run, once the others have been called.
    """

    @property
    def every(self) -> int | None:
        """Steps between two calls; None: after every evaluation."""
        ...

    def __call__(
        self, step: int, state: TrainState, batch: Batch, task: Task, /
    ) -> Mapping[str, Any] | None:
        """Numbers by name, for metrics.jsonl and TensorBoard, or None for nothing.

        Lists of lists and words are for metrics.jsonl alone.
        """
        ...


class StopTraining(Exception):  # noqa: N818, it ends a run as it should end
    """Raised by a callback of `fit` to end the run at this step, with its `Result`.

    Its message says why, as `Result.stopped`. The state is evaluated and saved as that of the last
    step is. A resumed run goes on.
    """


def call_all(
    callbacks: Sequence[Callback],
    step: int,
    state: TrainState,
    batch: Batch,
    task: Task,
    history: Callable[[], Sequence[Mapping[str, Any]]],
) -> tuple[dict[str, Any], str | None]:
    """What callbacks return, all together, and why one of them stopped the run.

    `history` makes what those are passed that have a parameter of this name.
    """
    returned: dict[str, Any] = {}
    stopped = None
    for callback in callbacks:
        call: Any = callback
        if "history" in inspect.signature(call).parameters:
            call = partial(call, history=history())
        try:
            found = callback_returned(call(step, state, batch, task))
        except StopTraining as stop:
            stopped = stopped or str(stop) or "a callback stopped it"
            continue
        for name in returned.keys() & found.keys():
            if as_logged(returned[name]) != as_logged(found[name]):
                raise ValueError(
                    f"two callbacks return {name!r} at step {step}, and not the same: let one of "
                    "them return it under another name"
                )
        returned |= found
    return returned, stopped


class _EarlyStopping(NamedTuple):
    """Ends a run by its history alone, so that a resumed run ends at the same step."""

    patience: int
    every: int | None = None

    def __call__(
        self,
        step: int,
        state: TrainState,
        batch: Batch,
        task: Task,
        history: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        evaluations = [entry for entry in history if "evaluation" in entry]
        scores = [score_of(task, entry) for entry in evaluations]
        best = scores.index(max(scores))
        if len(scores) - 1 - best >= self.patience:
            name = (task.select or task.metric).name
            raise StopTraining(
                f"{name} has not been better than at step {evaluations[best]['step']} in "
                f"{self.patience} evaluation{'s' * (self.patience > 1)}"
            )


@checked_arguments
def early_stopping(patience: int) -> Callback:
    """End a run that gets no better: after so many evaluations without a new best one.

    What is better is decided by `Task.select`, or else by the task's metric; with several seeds by
    the mean over them. A resumed run counts the evaluations before as well. The schedule of the
    learning rate remains that of the whole run.

    Args:
      patience: evaluations without a new best one after which the run ends.

    Returns:
      A `Callback` for `fit(..., callbacks=[early_stopping(5)])`. The best params are not those of
      the result: `load(folder, task, which="best")` has them.

    Raises:
      ValueError: patience below 1.

    Example:
      >>> from rnnjax.experiments.tasks import delayed_xor
      >>> from rnnjax.experiments.training import Settings, early_stopping, fit
      >>> settings = Settings(steps=6, evaluate_every=1, learning_rate=1e-9)
      >>> result = fit(delayed_xor(hidden=4), settings, callbacks=[early_stopping(2)], quiet=True)
      >>> result.stopped
      'accuracy has not been better than at step 1 in 2 evaluations'

    References:
      Prechelt (1998), Early stopping: but when?, Neural Networks: Tricks of the Trade.
    """
    return _EarlyStopping(check_positive_int("patience", patience))


class _FlowCallback:
    """`flow.watch` of the task's recurrent cell, on the first batch of its data."""

    def __init__(
        self, every: int, leaf: str | None, eigenvalues: bool | None, at_start: bool
    ) -> None:
        self.every, self.at_start = every, at_start
        self._leaf, self._eigenvalues = leaf, eigenvalues
        self._task: Task | None = None
        self._watch: Any = None

    def __call__(self, step: int, state: TrainState, batch: Batch, task: Task, /) -> dict[str, Any]:
        if task is not self._task:
            self._task, self._watch = task, self._watching(task)
        return self._watch.measure(state.params)

    def _watching(self, task: Task) -> flow.Watch:
        recurrence = task.recurrence
        if recurrence is None:
            raise ValueError(
                f"task {task.name!r} does not expose its recurrent cell: flow_callback needs "
                "Task.recurrence"
            )
        probe = task.batches(0)[0]

        def net(params: Params) -> flow.Recurrence:
            return recurrence(params, probe)

        return flow.watch(net, every=self.every, leaf=self._leaf, eigenvalues=self._eigenvalues)


@checked_arguments
def flow_callback(
    every: int = 500,
    *,
    leaf: str | None = None,
    eigenvalues: bool | None = None,
    at_start: bool = False,
) -> Callback:
    """Log the gradient flow through the task's recurrent cell, every `every` steps.

    It is `flow.watch` as a callback of `fit`: gradient norms by lag, the largest Lyapunov exponent,
    saturation, and spectral norms, radii and eigenvalues of W_h, layer by layer, under the names
    that `flow.watch` lists. They are measured on one batch, the first of seed 0, so that what
    changes is the net, and a resumed run measures the same. Of several nets that are trained at
    once (`Settings.seeds`) the first is measured. `flow.read_watch(folder)` reads the measurements
    back, and `report.write_watch`, `report.write_eigenvalues` or `rnnjax flow` draws them. (The
    share of clipped steps is in every log entry as `clip_rate`.)

    Args:
      every: steps between two measurements.
      leaf: the field of the carry whose gradient norms are taken, such as "h"; None for all fields.
      eigenvalues: whether those of W_h are logged; None: of up to 64 units.
      at_start: whether to measure before the first step too, as step 0.

    Returns:
      A `Callback` for `fit(..., callbacks=[flow_callback(200)])`.

    Raises:
      ValueError: every below 1; when called, a task without `Task.recurrence`.

    Example:
      >>> from rnnjax.experiments.training import flow_callback
      >>> flow_callback(200).every
      200

    References:
      Bengio, Simard & Frasconi (1994), Learning long-term dependencies with gradient descent
      is difficult, IEEE Transactions on Neural Networks 5.
    """
    if eigenvalues is not None:
        check_flag("eigenvalues", eigenvalues)
    return _FlowCallback(check_positive_int("every", every), leaf, eigenvalues, at_start)
