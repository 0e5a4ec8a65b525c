"""Training: one pure step, a many-to-one classifier, and the comparison of cells."""

from rnnjax.training._classifier import Classifier, ClassifierParams, classifier, cross_entropy
from rnnjax.training._comparison import (
    CONTENDERS,
    GRADIENTS,
    CellResult,
    Settings,
    train_and_measure,
)
from rnnjax.training._flow import FlowMeasures, measure_flow
from rnnjax.training._step import Metrics, TrainState, start_training, train_step

__all__ = [
    "CONTENDERS",
    "GRADIENTS",
    "CellResult",
    "Classifier",
    "ClassifierParams",
    "FlowMeasures",
    "Metrics",
    "Settings",
    "TrainState",
    "classifier",
    "cross_entropy",
    "measure_flow",
    "start_training",
    "train_and_measure",
    "train_step",
]
