"""Haiku: `hk.LSTM` under `hk.dynamic_unroll`.

Its gates are i, g, f, o, one kernel takes [x_t, h_{t-1}], and 1 is added to f inside the step.
"""

from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.peers.layer import Layer, compose
from benchmarks.problem import Pass, Problem, Unsupported
from benchmarks.program import Program, jax_program
from rnnjax.cells import LSTMParams

_OTHERS = {
    "rnn": "Haiku's VanillaRNN is ReLU, not tanh",
    "gru": "Haiku's GRU resets before the recurrent product: another function",
}


def program(name: str, problem: Problem, which: Pass) -> Program:
    """Haiku's program."""
    if problem.cell in _OTHERS:
        raise Unsupported(_OTHERS[problem.cell])
    if problem.lengths is not None:
        raise Unsupported("hk.dynamic_unroll takes no lengths")
    return jax_program(name, compose(problem, _layer), problem, which)


def _layer(cell: str, block: Any) -> Layer:
    hk: Any = import_module("haiku")
    inputs, hidden = block.w_x.shape[0], block.w_h.shape[0]

    def net(xs: Any, reverse: bool) -> Any:
        core = hk.LSTM(hidden)
        return hk.dynamic_unroll(core, xs, core.initial_state(xs.shape[1]), reverse=reverse)[0]

    pure = hk.without_apply_rng(hk.transform(net))

    def apply(params: Any, xs: Any, lengths: Any, reverse: bool) -> Any:
        return pure.apply({"lstm/linear": params}, xs, reverse)

    def as_block(params: Any) -> Any:
        w = _swap_gates(params["w"])
        return LSTMParams(w[:inputs], w[inputs:], _swap_gates(params["b"]))

    plus_one = np.repeat(np.array([0, 1, 0, 0], np.float32), hidden)
    weights = {
        "w": _swap_gates(np.concatenate([block.w_x, block.w_h])),
        "b": _swap_gates(block.b - plus_one),
    }
    return Layer(weights, apply, as_block)


def _swap_gates(array: Any) -> Any:
    """i, f, g, o <-> i, g, f, o along the last axis."""
    i, second, third, o = np.split(np.asarray(array), 4, -1)
    return np.concatenate([i, third, second, o], -1)
