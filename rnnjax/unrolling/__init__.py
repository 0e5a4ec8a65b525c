"""Cells over whole sequences: `unroll` and the layers made with it."""

from rnnjax.cells._flagged import Flagged, freezing, restarting
from rnnjax.unrolling._layers import Layer, bidirectional, recurrent, serial
from rnnjax.unrolling._unroll import unroll

__all__ = [
    "Flagged",
    "Layer",
    "bidirectional",
    "freezing",
    "recurrent",
    "restarting",
    "serial",
    "unroll",
]
