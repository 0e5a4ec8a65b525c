"""Tasks for recurrent nets: data, model, loss and metric in one value."""

from rnnjax.tasks._cells import CELLS, CellFactory, CellOption, make_cell
from rnnjax.tasks._digits import Digits, digits
from rnnjax.tasks._registry import TaskEntry
from rnnjax.tasks._task import Batch, Batches, Loss, Metric, Recipe, Recurrence, Task

TASKS: dict[str, TaskEntry] = {}

__all__ = [
    "CELLS",
    "TASKS",
    "Batch",
    "Batches",
    "CellFactory",
    "CellOption",
    "Digits",
    "Loss",
    "Metric",
    "Recipe",
    "Recurrence",
    "Task",
    "TaskEntry",
    "digits",
    "make_cell",
]
