"""What may look in during training, and the gradient flow that one such sees."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from rnnjax.experiments.tasks import Batch, Task
from rnnjax.experiments.training._step import TrainState


@runtime_checkable
class Callback(Protocol):
    """Called by `fit` every so many steps; what it returns is logged beside that step's metrics.

    The state is the one after the step, and the batch the step's own (of the first seed, where
    there are several; the first of those that are accumulated). Its arrays are given back to the
    device at the next step, so copy what is to be kept.
    """

    @property
    def every(self) -> int:
        """Steps between two calls."""
        ...

    def __call__(
        self, step: int, state: TrainState, batch: Batch, task: Task, /
    ) -> Mapping[str, float]:
        """Figures by name, for metrics.jsonl and TensorBoard."""
        ...
