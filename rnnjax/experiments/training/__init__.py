"""Training: `fit` for any task, the pure step that it runs, and the comparison of cells."""

from rnnjax.experiments.training._batches import cached_batches
from rnnjax.experiments.training._callbacks import (
    Callback,
    StopTraining,
    early_stopping,
    flow_callback,
)
from rnnjax.experiments.training._comparison import (
    CONTENDERS,
    GRADIENTS,
    SINGLE_LAYER,
    CellResult,
    ComparisonSettings,
    Contender,
    NoRecurrenceError,
    Progress,
    comparison_task,
    peak_learning_rate,
    train_and_measure,
)
from rnnjax.experiments.training._config import CONFIG, RESULTS, is_unused, read_config
from rnnjax.experiments.training._fit import Interrupted, fit
from rnnjax.experiments.training._flow import FlowMeasures, measure_flow
from rnnjax.experiments.training._load import TrainedModel, load, load_model
from rnnjax.experiments.training._lock import check_writable
from rnnjax.experiments.training._log import logged_mean, logged_values, read_metrics
from rnnjax.experiments.training._needs import check_memory
from rnnjax.experiments.training._record import Result
from rnnjax.experiments.training._settings import (
    OPTIMIZERS,
    SCHEDULES,
    ResolvedSettings,
    Settings,
    resolve,
)
from rnnjax.experiments.training._step import (
    Metrics,
    TrainState,
    global_norm,
    start_training,
    train_step,
)
from rnnjax.experiments.training._terminal import deferred_interrupt

__all__ = [
    "CONFIG",
    "CONTENDERS",
    "GRADIENTS",
    "OPTIMIZERS",
    "RESULTS",
    "SCHEDULES",
    "SINGLE_LAYER",
    "Callback",
    "CellResult",
    "ComparisonSettings",
    "Contender",
    "FlowMeasures",
    "Interrupted",
    "Metrics",
    "NoRecurrenceError",
    "Progress",
    "ResolvedSettings",
    "Result",
    "Settings",
    "StopTraining",
    "TrainState",
    "TrainedModel",
    "cached_batches",
    "check_memory",
    "check_writable",
    "comparison_task",
    "deferred_interrupt",
    "early_stopping",
    "fit",
    "flow_callback",
    "global_norm",
    "is_unused",
    "load",
    "load_model",
    "logged_mean",
    "logged_values",
    "measure_flow",
    "peak_learning_rate",
    "read_config",
    "read_metrics",
    "resolve",
    "start_training",
    "train_and_measure",
    "train_step",
]
