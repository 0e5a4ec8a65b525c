"""Equinox: `eqx.nn.LSTMCell` and `GRUCell`, under `vmap` in a `lax.scan`, as its users write it.

Weights are [gates·H, D]. There is no vanilla cell, and nothing is said about lengths.
"""

from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.peers.layer import Layer, compose
from benchmarks.problem import Pass, Problem, Unsupported
from benchmarks.program import Program, jax_program
from rnnjax.cells import GRUParams, LSTMParams


def program(name: str, problem: Problem, which: Pass) -> Program:
    """Equinox's program."""
    if problem.cell == "rnn":
        raise Unsupported("Equinox has no vanilla cell")
    if problem.lengths is not None:
        raise Unsupported("Equinox leaves sequences of different lengths to the user")
    return jax_program(name, compose(problem, _layer), problem, which)


def _layer(cell: str, block: Any) -> Layer:
    eqx: Any = import_module("equinox")
    inputs, hidden = block.w_x.shape[0], block.w_h.shape[0]
    make = eqx.nn.LSTMCell if cell == "lstm" else eqx.nn.GRUCell
    module = make(inputs, hidden, dtype=jnp.float32, key=jax.random.key(0))
    fields = ["weight_ih", "weight_hh", "bias"] + (["bias_n"] if cell == "gru" else [])
    values = [block.w_x.T, block.w_h.T, block.b] + ([block.b_hn] if cell == "gru" else [])

    def place(values: Any) -> Any:
        return eqx.tree_at(lambda m: [getattr(m, f) for f in fields], module, values)

    def apply(params: Any, xs: Any, lengths: Any, reverse: bool) -> Any:
        step = jax.vmap(place(params))
        zeros = jnp.zeros((xs.shape[1], hidden), xs.dtype)

        def body(carry: Any, x_t: Any) -> Any:
            carry = step(x_t, carry)
            return carry, carry[0] if cell == "lstm" else carry

        start = (zeros, zeros) if cell == "lstm" else zeros
        return jax.lax.scan(body, start, xs, reverse=reverse)[1]

    def as_block(params: Any) -> Any:
        w_x, w_h, b, *b_hn = params
        return (GRUParams if cell == "gru" else LSTMParams)(w_x.T, w_h.T, b, *b_hn)

    return Layer(values, apply, as_block)
