"""Data for recurrent nets."""

from rnnjax.tasks._digits import Digits, digits
from rnnjax.tasks._task import Batch, Batches, Loss, Metric, Recipe, Recurrence, Task

__all__ = [
    "Batch",
    "Batches",
    "Digits",
    "Loss",
    "Metric",
    "Recipe",
    "Recurrence",
    "Task",
    "digits",
]
