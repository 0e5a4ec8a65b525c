"""Tasks for recurrent networks: data, model, loss and metric in one value."""

from rnnjax.experiments.tasks._options import CELLS, CellFactory, CellOption, make_cell
from rnnjax.experiments.tasks._registry import TASKS, TaskEntry
from rnnjax.experiments.tasks._sequences import Sequences
from rnnjax.experiments.tasks._task import (
    Batch,
    Batches,
    Loss,
    Metric,
    Model,
    Recipe,
    Recurrence,
    Task,
)
from rnnjax.experiments.tasks.captions import caption
from rnnjax.experiments.tasks.forecasting import series
from rnnjax.experiments.tasks.images import sequential_digits, sequential_mnist
from rnnjax.experiments.tasks.spoken import speech
from rnnjax.experiments.tasks.synthetic import (
    adding,
    copying,
    counting,
    delayed_xor,
    dyck,
    lorenz,
    match_to_sample,
    parity,
    sine,
    temporal_order,
)
from rnnjax.experiments.tasks.text import language, sentiment

__all__ = [
    "CELLS",
    "TASKS",
    "Batch",
    "Batches",
    "CellFactory",
    "CellOption",
    "Loss",
    "Metric",
    "Model",
    "Recipe",
    "Recurrence",
    "Sequences",
    "Task",
    "TaskEntry",
    "adding",
    "caption",
    "copying",
    "counting",
    "delayed_xor",
    "dyck",
    "language",
    "lorenz",
    "make_cell",
    "match_to_sample",
    "parity",
    "sentiment",
    "sequential_digits",
    "sequential_mnist",
    "series",
    "sine",
    "speech",
    "temporal_order",
]
