"""Cells that ONNX has an operator for, as its nodes."""

from typing import Any

import jax
import numpy as np

from rnnjax._types import Cell, Params, PyTree
from rnnjax.interop._canonical import hidden_size, join, split, to_gates, zeros_like
from rnnjax.interop._onnx._graph import Value
from rnnjax.interop._onnx._node import ORDER
from rnnjax.interop._onnx._run import Run
from rnnjax.interop._table import HOLDS

_ACTIVATIONS: dict[str, dict[str, Any]] = {
    "tanh": {"activations": ["Tanh"]},
    "relu": {"activations": ["Relu"]},
    "sigmoid": {"activations": ["Sigmoid"]},
    "identity": {"activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]},
}


def operator(form: Any) -> str | None:
    """RNN, LSTM or GRU, where it computes what the cells of a form do."""
    return HOLDS["ONNX"].get(form, "").split("(")[0] or None


def node_of(
    op: str,
    run: Run,
    cell: Cell,
    params: Params,
    xs: Value,
    xs_type: Any,
    carry: PyTree,
    reverse: bool,
) -> tuple[PyTree, Value, PyTree]:
    """Add a node to the run's graph, and return the final carry, ys and the type of a y_t.

    A carry of None is zeros.
    """
    carry_type, ys_type = run.step_types(cell, params, xs_type)
    graph, gates = run.graph, to_gates("to_onnx", cell, params)
    order, hidden = ORDER[op], hidden_size(gates)
    attributes: dict[str, Any] = {"hidden_size": hidden}
    if gates.kind == "cifg":  # its forget gate is 1 - i, and f's weights are not read
        attributes["input_forget"] = 1
        parts = gates.w_x, gates.w_h, gates.b
        w_x, w_h, b_x = (part | {"f": np.zeros_like(part["i"])} for part in parts)
        gates = gates._replace(w_x=w_x, w_h=w_h, b=b_x)
    w, r = (join(block, order).T[None] for block in (gates.w_x, gates.w_h))
    b_h = zeros_like(gates.b) | ({"n": gates.more["b_hn"]} if "b_hn" in gates.more else {})
    b = np.concatenate([join(gates.b, order), join(b_h, order)])[None]
    if gates.kind == ("gru", "after"):
        attributes["linear_before_reset"] = 1
    if op == "RNN":
        attributes |= _ACTIVATIONS[gates.kind[1]]
    if reverse:
        attributes["direction"] = "reverse"
    states = [None] * len(carry_type) if carry is None else list(carry)
    first = graph.integers([0])
    inputs = [w, r, b, run.lengths]
    inputs += [None if h is None else graph.op("Unsqueeze", h, first) for h in states]
    if "p" in gates.more:
        inputs.append(join(split(gates.more["p"], "ifo"), "iof")[None])
    while inputs[-1] is None:
        inputs.pop()
    dtype = w.dtype
    if xs_type.dtype != dtype:
        xs = run.cast(xs, dtype)
    y, *last = graph.ops(op, 1 + len(states), xs, *inputs, **attributes)
    last = [graph.op("Squeeze", h, first) for h in last]
    if carry is not None and run.lengths is not None:
        # onnxruntime gives zeros as the last state of an empty sequence.
        last = [graph.op("Where", run.empty(), h0, h) for h0, h in zip(states, last, strict=True)]
    ys = graph.op("Squeeze", y, graph.integers([1]))
    return jax.tree.unflatten(jax.tree.structure(carry_type), last), ys, ys_type
