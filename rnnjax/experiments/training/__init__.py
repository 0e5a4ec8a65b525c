"""Training: `fit` for any task, the one pure step under it, and the comparison of cells."""

from rnnjax.experiments.training._callbacks import Callback
from rnnjax.experiments.training._checkpoints import load
from rnnjax.experiments.training._classifier import (
    Classifier,
    ClassifierParams,
    classifier,
    cross_entropy,
)
from rnnjax.experiments.training._comparison import (
    CONTENDERS,
    GRADIENTS,
    CellResult,
    ComparisonSettings,
    Progress,
    train_and_measure,
)
from rnnjax.experiments.training._config import read_config
from rnnjax.experiments.training._fit import fit
from rnnjax.experiments.training._flow import FlowMeasures, measure_flow, measure_recurrence
from rnnjax.experiments.training._flow_callback import flow_callback
from rnnjax.experiments.training._log import read_metrics
from rnnjax.experiments.training._loop import Interrupted, Result
from rnnjax.experiments.training._settings import OPTIMIZERS, SCHEDULES, Settings, resolved
from rnnjax.experiments.training._step import (
    Metrics,
    TrainState,
    global_norm,
    start_training,
    train_step,
)
from rnnjax.experiments.training._task_comparison import (
    NoRecurrenceError,
    comparable_task,
    peak_rate,
    train_and_measure_on,
)

__all__ = [
    "CONTENDERS",
    "GRADIENTS",
    "OPTIMIZERS",
    "SCHEDULES",
    "Callback",
    "CellResult",
    "Classifier",
    "ClassifierParams",
    "ComparisonSettings",
    "FlowMeasures",
    "Interrupted",
    "Metrics",
    "NoRecurrenceError",
    "Progress",
    "Result",
    "Settings",
    "TrainState",
    "classifier",
    "comparable_task",
    "cross_entropy",
    "fit",
    "flow_callback",
    "global_norm",
    "load",
    "measure_flow",
    "measure_recurrence",
    "peak_rate",
    "read_config",
    "read_metrics",
    "resolved",
    "start_training",
    "train_and_measure",
    "train_and_measure_on",
    "train_step",
]
