"""Keras 3 on its JAX backend: the layers `SimpleRNN`, `LSTM` and `GRU(reset_after=True)`.

Keras is batch first: it gets xs [B, T, I], so that no one's transposition is timed but its own.
Its GRU's gates are z, r, h, with one row of biases for the input and one for the state.
"""

import os
from importlib import import_module
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks.peers.layer import Layer, compose
from benchmarks.problem import Pass, Problem, Unsupported
from benchmarks.program import Program, jax_program
from rnnjax.cells import GRUParams, LSTMParams, VanillaParams


def program(name: str, problem: Problem, which: Pass) -> Program:
    """Keras' program."""
    return jax_program(name, compose(problem, _layer, batch_first=True), problem, which)


def _keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras: Any = import_module("keras")
    if keras.backend.backend() != "jax":
        raise Unsupported(f"Keras runs on {keras.backend.backend()}: set KERAS_BACKEND=jax")
    return keras


def _layer(cell: str, block: Any) -> Layer:
    layers = _keras().layers
    hidden = block.w_h.shape[0]
    make = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}[cell]
    options = {"reset_after": True} if cell == "gru" else {}

    def build(reverse: bool) -> Any:
        layer = make(hidden, return_sequences=True, go_backwards=reverse, **options)
        layer.build((None, None, block.w_x.shape[0]))
        return layer

    ways = {reverse: build(reverse) for reverse in (False, True)}

    def apply(params: Any, xs: Any, lengths: Any, reverse: bool) -> Any:
        layer = ways[reverse]
        mask = None if lengths is None else jnp.arange(xs.shape[1])[None, :] < lengths[:, None]
        state = [v.value for v in layer.non_trainable_variables]
        ys, _ = layer.stateless_call(params, state, xs, mask=mask)
        return jnp.flip(ys, 1) if reverse else ys  # go_backwards gives y_T first

    return Layer(_to_keras(cell, block), apply, lambda gradients: _to_block(cell, gradients))


def _to_keras(cell: str, block: Any) -> list[np.ndarray]:
    if cell != "gru":
        return [block.w_x, block.w_h, block.b]
    state_bias = np.concatenate([np.zeros_like(block.b[: -block.b_hn.size]), block.b_hn])
    biases = np.stack([_swap_gates(block.b), state_bias])
    return [_swap_gates(block.w_x), _swap_gates(block.w_h), biases]


def _to_block(cell: str, params: Any) -> Any:
    w_x, w_h, b = params
    if cell == "lstm":
        return LSTMParams(w_x, w_h, b)
    if cell == "rnn":
        return VanillaParams(w_x, w_h, b)
    return GRUParams(
        _swap_gates(w_x), _swap_gates(w_h), _swap_gates(b[0]), b[1][2 * w_h.shape[0] :]
    )


def _swap_gates(array: Any) -> Any:
    """r, z, n <-> z, r, h along the last axis."""
    first, second, third = np.split(np.asarray(array), 3, -1)
    return np.concatenate([second, first, third], -1)
