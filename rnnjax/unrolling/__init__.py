"""Cells over whole sequences: `unroll` and the layers made with it."""

from rnnjax.unrolling._layers import (
    Layer,
    bidirectional,
    check_model_params,
    recurrent,
    serial,
)
from rnnjax.unrolling._step import step_with_reset
from rnnjax.unrolling._unroll import unroll

__all__ = [
    "Layer",
    "bidirectional",
    "check_model_params",
    "recurrent",
    "serial",
    "step_with_reset",
    "unroll",
]
