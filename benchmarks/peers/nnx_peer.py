"""Flax nnx: `nnx.RNN` over `OptimizedLSTMCell`, `GRUCell` and `SimpleCell`.

The gates' order is rnnjax's. `GRUCell` has no b_hn. Of ragged sequences `nnx.RNN` computes the
padding, too, and leaves it to the loss to ignore.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from benchmarks.peers.layer import Layer, compose
from benchmarks.problem import Pass, Problem
from benchmarks.program import Program, jax_program
from rnnjax.cells import GRUParams, LSTMParams, VanillaParams

_CELLS = {"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}


def program(name: str, problem: Problem, which: Pass) -> Program:
    """Flax nnx's program."""
    return jax_program(name, compose(problem, _layer), problem, which)


def _layer(cell: str, block: Any) -> Layer:
    inputs, hidden = block.w_x.shape[0], block.w_h.shape[0]
    module = _CELLS[cell](inputs, hidden, rngs=nnx.Rngs(0))
    graph, _, rest = nnx.split(nnx.RNN(module, time_major=True), nnx.Param, ...)
    biased = "dense_h" if cell == "lstm" else "dense_i"
    weights = {"dense_i": {"kernel": block.w_x}, "dense_h": {"kernel": block.w_h}}
    weights[biased]["bias"] = block.b

    def apply(params: Any, xs: Any, lengths: Any, reverse: bool) -> Any:
        zeros = jnp.zeros((xs.shape[1], hidden), xs.dtype)
        state = nnx.State(
            {"cell": {k: {n: nnx.Param(a) for n, a in p.items()} for k, p in params.items()}}
        )
        return nnx.merge(graph, state, rest)(
            xs,
            initial_carry=(zeros, zeros) if cell == "lstm" else zeros,
            seq_lengths=lengths,
            reverse=reverse,
            keep_order=True,
        )

    def as_block(params: Any) -> Any:
        w_x, w_h = params["dense_i"]["kernel"], params["dense_h"]["kernel"]
        b = params[biased]["bias"]
        if cell == "gru":
            return GRUParams(w_x, w_h, b, None)
        return (LSTMParams if cell == "lstm" else VanillaParams)(w_x, w_h, b)

    return Layer(weights, apply, as_block)
