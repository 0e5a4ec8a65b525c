"""Combinators: they make a new `Cell` from cells, and keep what is still known of it."""

from rnnjax.combinators._dropout import (
    InputDropoutCarry,
    RecurrentDropoutCarry,
    input_dropout,
    recurrent_dropout,
)
from rnnjax.combinators._fixed_dt import fixed_dt
from rnnjax.combinators._inner import COMBINATORS, combinator
from rnnjax.combinators._learned_carry import (
    LearnedCarryParams,
    inner_cell,
    learned_carry,
    without_learned_carries,
)
from rnnjax.combinators._residual import residual
from rnnjax.combinators._stack import stack
from rnnjax.combinators._wrap import wrap
from rnnjax.combinators._zoneout import ZoneoutCarry, zoneout

__all__ = [
    "COMBINATORS",
    "InputDropoutCarry",
    "LearnedCarryParams",
    "RecurrentDropoutCarry",
    "ZoneoutCarry",
    "combinator",
    "fixed_dt",
    "inner_cell",
    "input_dropout",
    "learned_carry",
    "recurrent_dropout",
    "residual",
    "stack",
    "without_learned_carries",
    "wrap",
    "zoneout",
]
