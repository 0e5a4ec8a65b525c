"""Cells that ONNX has an operator for, as its nodes."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from rnnjax._types import Cell, Params, PyTree
from rnnjax.interop._canonical import Gates, hidden_size, join, split, to_gates, zeros_like
from rnnjax.interop._onnx._graph import Graph, Value
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
    cells: Sequence[tuple[Cell, Params]],
    xs: Value,
    xs_type: Any,
    carries: Sequence[PyTree],
    reverse: bool = False,
) -> tuple[list[PyTree], Value, PyTree]:
    """Add one node to the run's graph, of a cell, or of two alike that run forwards and backwards.

    Returns the final carries, ys and the type of a y_t. Carries of None are zeros, for both.
    """
    graph, (cell, params), count = run.graph, cells[0], len(cells)
    carry_type, ys_type = run.step_types(cell, params, xs_type)
    each = [_inputs(to_gates("to_onnx", *pair)) for pair in cells]
    arrays = {role: np.concatenate([own[role] for own in each]) for role in each[0]}
    attributes = _attributes(to_gates("to_onnx", cell, params), count)
    if reverse or count == 2:
        attributes["direction"] = "bidirectional" if count == 2 else "reverse"
    states: list[Value] = [None] * len(carry_type)
    if carries[0] is not None:
        apart = zip(*(jax.tree.leaves(carry) for carry in carries), strict=True)
        states = [_beside(graph, leaves) for leaves in apart]
    inputs = [*(arrays.pop(role) for role in "WRB"), run.lengths, *states, *arrays.values()]
    while inputs[-1] is None:
        inputs.pop()
    dtype = each[0]["W"].dtype
    xs = xs if xs_type.dtype == dtype else run.cast(xs, dtype)
    y, *last = graph.ops(op, 1 + len(states), xs, *inputs, **attributes)
    tree = jax.tree.structure(carry_type)
    finals = [_last(run, last, k, carry, tree) for k, carry in enumerate(carries)]
    if count == 1:
        return finals, graph.op("Squeeze", y, graph.integers([1])), ys_type
    # [T, 2, B, H] -> [T, B, 2 H], whose first two sizes stay
    size = 2 * ys_type.shape[-1]
    y = graph.op("Transpose", y, perm=(0, 2, 1, 3))
    ys = graph.op("Reshape", y, graph.integers([0, 0, size]))
    return finals, ys, jax.ShapeDtypeStruct((*ys_type.shape[:-1], size), ys_type.dtype)


def _last(run: Run, last: list[Value], k: int, carry: PyTree, tree: Any) -> PyTree:
    """The final carry [B, H] of direction k, which began with `carry`, of [directions, B, H]."""
    op, at = run.graph.op, np.asarray(k, np.int64)
    states = [op("Gather", h, at, axis=0) for h in last]
    if carry is not None and run.lengths is not None:
        # onnxruntime gives zeros as the last state of an empty sequence.
        pairs = zip(jax.tree.leaves(carry), states, strict=True)
        states = [op("Where", run.empty(), h0, h) for h0, h in pairs]
    return jax.tree.unflatten(tree, states)


def _beside(graph: Graph, leaves: Sequence[Value]) -> Value:
    """States [B, H] of each direction as one [directions, B, H]."""
    first = graph.integers([0])
    apart = [graph.op("Unsqueeze", h, first) for h in leaves]
    return apart[0] if len(apart) == 1 else graph.op("Concat", *apart, axis=0)


def _inputs(gates: Gates) -> dict[str, np.ndarray]:
    """W, R, B and P of one direction, in ONNX's order of the gates."""
    order = ORDER[operator(gates.kind) or ""]
    if gates.kind == "cifg":  # its forget gate is 1 - i, and f's weights are not read
        parts = gates.w_x, gates.w_h, gates.b
        w_x, w_h, b = (part | {"f": np.zeros_like(part["i"])} for part in parts)
        gates = gates._replace(w_x=w_x, w_h=w_h, b=b)
    w, r = (join(block, order).T[None] for block in (gates.w_x, gates.w_h))
    b_h = zeros_like(gates.b) | ({"n": gates.more["b_hn"]} if "b_hn" in gates.more else {})
    arrays = {"W": w, "R": r, "B": np.concatenate([join(gates.b, order), join(b_h, order)])[None]}
    if "p" in gates.more:
        arrays["P"] = join(split(gates.more["p"], "ifo"), "iof")[None]
    return arrays


def _attributes(gates: Gates, count: int) -> dict[str, Any]:
    attributes: dict[str, Any] = {"hidden_size": hidden_size(gates)}
    if gates.kind == "cifg":
        attributes["input_forget"] = 1
    if gates.kind == ("gru", "after"):
        attributes["linear_before_reset"] = 1
    if gates.kind[0] == "vanilla":
        one = _ACTIVATIONS[gates.kind[1]]
        attributes |= {name: values * count for name, values in one.items()}
    return attributes
