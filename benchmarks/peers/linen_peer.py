"""Flax linen: `nn.RNN` over `OptimizedLSTMCell`, `GRUCell` and `SimpleCell`.

Each gate has a kernel of its own, named by the source and the gate: `if` is the input's, for f.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen

from benchmarks.peers.layer import Layer, compose
from benchmarks.problem import Pass, Problem
from benchmarks.program import Program, jax_program
from rnnjax.cells import GRUParams, LSTMParams, VanillaParams

_CELLS = {"rnn": linen.SimpleCell, "lstm": linen.OptimizedLSTMCell, "gru": linen.GRUCell}
_GATES = {"rnn": ("",), "lstm": tuple("ifgo"), "gru": tuple("rzn")}


def program(name: str, problem: Problem, which: Pass) -> Program:
    """Flax linen's program."""
    return jax_program(name, compose(problem, _layer), problem, which)


def _layer(cell: str, block: Any) -> Layer:
    hidden = block.w_h.shape[0]
    rnn = linen.RNN(_CELLS[cell](hidden), time_major=True)

    def apply(params: Any, xs: Any, lengths: Any, reverse: bool) -> Any:
        zeros = jnp.zeros((xs.shape[1], hidden), xs.dtype)
        return rnn.apply(
            {"params": {"cell": params}},
            xs,
            initial_carry=(zeros, zeros) if cell == "lstm" else zeros,
            seq_lengths=lengths,
            reverse=reverse,
            keep_order=True,
        )

    return Layer(_to_linen(cell, block), apply, lambda gradients: _to_block(cell, gradients))


def _to_linen(cell: str, block: Any) -> dict[str, dict[str, np.ndarray]]:
    gates = _GATES[cell]
    biased = "h" if cell == "lstm" else "i"
    parts = zip(
        gates, *(np.split(w, len(gates), -1) for w in (block.w_x, block.w_h, block.b)), strict=True
    )
    params: dict[str, dict[str, np.ndarray]] = {}
    for gate, w_x, w_h, b in parts:
        params |= {f"i{gate}": {"kernel": w_x}, f"h{gate}": {"kernel": w_h}}
        params[biased + gate]["bias"] = b
    if cell == "gru":
        params["hn"]["bias"] = block.b_hn
    return params


def _to_block(cell: str, params: Any) -> Any:
    def joined(source: str, field: str) -> Any:
        return np.concatenate([params[source + gate][field] for gate in _GATES[cell]], -1)

    w_x, w_h = joined("i", "kernel"), joined("h", "kernel")
    if cell == "lstm":
        return LSTMParams(w_x, w_h, joined("h", "bias"))
    if cell == "gru":
        return GRUParams(w_x, w_h, joined("i", "bias"), params["hn"]["bias"])
    return VanillaParams(w_x, w_h, joined("i", "bias"))
