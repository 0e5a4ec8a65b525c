"""Combinators: they make a new `Cell` from cells, and keep what is still known of it."""

from rnnjax.combinators._dropout import (
    InputDropoutCarry,
    RecurrentDropoutCarry,
    input_dropout,
    recurrent_dropout,
)
from rnnjax.combinators._fixed_dt import fixed_dt
from rnnjax.combinators._residual import residual
from rnnjax.combinators._stack import stack
from rnnjax.combinators._wrap import wrap
from rnnjax.combinators._zoneout import ZoneoutCarry, zoneout

__all__ = [
    "InputDropoutCarry",
    "RecurrentDropoutCarry",
    "ZoneoutCarry",
    "fixed_dt",
    "input_dropout",
    "recurrent_dropout",
    "residual",
    "stack",
    "wrap",
    "zoneout",
]
