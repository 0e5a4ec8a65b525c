"""rnnjax: recurrent networks in JAX, with every gradient right and shown to be."""

from rnnjax import cells, flow, gradients, interop, methods, scenarios
from rnnjax._types import Cell, Gradient, Method, Rule
from rnnjax._version import __version__
from rnnjax.cells import (
    gru,
    identity_rnn,
    initializers,
    input_dropout,
    irnn,
    lstm,
    lstm_1997,
    recurrent_dropout,
    residual,
    stack,
    vanilla,
    wrap,
    zoneout,
)
from rnnjax.gradients import autodiff, bptt
from rnnjax.methods import auto, cudnn, native, sequential
from rnnjax.unrolling import Layer, bidirectional, recurrent, serial, unroll

__all__ = [
    "Cell",
    "Gradient",
    "Layer",
    "Method",
    "Rule",
    "__version__",
    "auto",
    "autodiff",
    "bidirectional",
    "bptt",
    "cells",
    "cudnn",
    "flow",
    "gradients",
    "gru",
    "identity_rnn",
    "initializers",
    "input_dropout",
    "interop",
    "irnn",
    "lstm",
    "lstm_1997",
    "methods",
    "native",
    "recurrent",
    "recurrent_dropout",
    "residual",
    "scenarios",
    "sequential",
    "serial",
    "stack",
    "unroll",
    "vanilla",
    "wrap",
    "zoneout",
]
