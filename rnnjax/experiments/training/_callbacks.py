"""Callbacks of `fit`: their protocol, and one that measures gradient flow during training."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from rnnjax import flow
from rnnjax._arguments import check_flag, checked_arguments
from rnnjax._checks import check_positive_int
from rnnjax._types import Params
from rnnjax.experiments.tasks import Batch, Task
from rnnjax.experiments.training._step import TrainState


@runtime_checkable
class Callback(Protocol):
    """Called by `fit` at an interval; what it returns is logged with that step's metrics.

    The state is the one after the step, and the batch the one of the step (of the first seed and
    the first accumulated batch, if there are several). The buffers of the state are donated to the
    next step, so copy what you keep.

    One with a true attribute `at_start` is also called once before the first step, as step 0, with
    the first batch. Its entry has no cost: null.
    """

    @property
    def every(self) -> int:
        """Steps between two calls."""
        ...

    def __call__(
        self, step: int, state: TrainState, batch: Batch, task: Task, /
    ) -> Mapping[str, Any] | None:
        """Numbers by name, for metrics.jsonl and TensorBoard, or None for nothing.

        Lists of lists and words are for metrics.jsonl alone.
        """
        ...


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
    changes is the net, and a resumed run measures the same. `flow.read_watch(folder)` reads them
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
