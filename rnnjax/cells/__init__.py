"""Cells, one a file: params, carry, the equations, the hand-derived rule, the factory."""

from rnnjax.cells import initializers
from rnnjax.cells._activations import ActivationName
from rnnjax.cells._dropout import (
    InputDropoutCarry,
    RecurrentDropoutCarry,
    input_dropout,
    recurrent_dropout,
)
from rnnjax.cells._gru import GRUCarry, GRUParams, gru
from rnnjax.cells._identity import IdentityCarry, IdentityParams, identity_rnn
from rnnjax.cells._lstm import LSTMCarry, LSTMParams, lstm
from rnnjax.cells._lstm_1997 import LSTM1997Params, lstm_1997
from rnnjax.cells._residual import residual
from rnnjax.cells._stack import stack
from rnnjax.cells._vanilla import VanillaCarry, VanillaParams, irnn, vanilla
from rnnjax.cells._wrap import wrap
from rnnjax.cells._zoneout import ZoneoutCarry, zoneout

__all__ = [
    "ActivationName",
    "GRUCarry",
    "GRUParams",
    "IdentityCarry",
    "IdentityParams",
    "InputDropoutCarry",
    "LSTM1997Params",
    "LSTMCarry",
    "LSTMParams",
    "RecurrentDropoutCarry",
    "VanillaCarry",
    "VanillaParams",
    "ZoneoutCarry",
    "gru",
    "identity_rnn",
    "initializers",
    "input_dropout",
    "irnn",
    "lstm",
    "lstm_1997",
    "recurrent_dropout",
    "residual",
    "stack",
    "vanilla",
    "wrap",
    "zoneout",
]
