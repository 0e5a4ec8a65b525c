"""Training: `fit` for any task, the one pure step under it, and the comparison of cells."""

from rnnjax.experiments.training._callbacks import Callback
from rnnjax.experiments.training._checkpoints import load
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
from rnnjax.experiments.training._config import CONFIG, RESULTS, never_saved, read_config
from rnnjax.experiments.training._fit import fit
from rnnjax.experiments.training._flow import FlowMeasures, measure_flow
from rnnjax.experiments.training._flow_callback import flow_callback
from rnnjax.experiments.training._interrupt import orderly_interrupt
from rnnjax.experiments.training._log import mean_of, numbers, read_metrics
from rnnjax.experiments.training._loop import Interrupted, Result
from rnnjax.experiments.training._prefetch import cached_batches
from rnnjax.experiments.training._settings import OPTIMIZERS, SCHEDULES, Settings, resolved
from rnnjax.experiments.training._step import (
    Metrics,
    TrainState,
    global_norm,
    start_training,
    train_step,
)

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
    "Result",
    "Settings",
    "TrainState",
    "cached_batches",
    "comparison_task",
    "fit",
    "flow_callback",
    "global_norm",
    "load",
    "mean_of",
    "measure_flow",
    "never_saved",
    "numbers",
    "orderly_interrupt",
    "peak_learning_rate",
    "read_config",
    "read_metrics",
    "resolved",
    "start_training",
    "train_and_measure",
    "train_step",
]
