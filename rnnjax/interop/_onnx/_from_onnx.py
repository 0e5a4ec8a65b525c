"""`from_onnx`: the recurrent nodes of an ONNX model as cells."""

from typing import Any, Literal, overload

import numpy as np

from rnnjax._checks import check_flag
from rnnjax._types import Params
from rnnjax.interop._canonical import Gates, join, split, to_cell, to_jax, to_model
from rnnjax.interop._onnx._activations import activations_of
from rnnjax.interop._onnx._node import DIRECTIONS, ORDER, Node, read_node


@overload
def from_onnx(
    model: Any, node: str | None = None, *, return_options: Literal[False] = False
) -> tuple[Any, Params]: ...
@overload
def from_onnx(
    model: Any, node: str | None = None, *, return_options: Literal[True]
) -> tuple[Any, Params, dict[str, Any]]: ...
def from_onnx(model: Any, node: str | None = None, *, return_options: bool = False) -> Any:
    """Convert an `RNN`, `LSTM` or `GRU` node of an ONNX model to a cell and its params.

        Y, Y_h, Y_c = LSTM(X, ...)   becomes   carry, ys = rnnjax.unroll(cell, params, X)

    The cell computes what the node does: its gates are brought from the order i, o, f, c to
    i, f, g, o (z, r, h to r, z, n; peepholes i, o, f to i, f, o), and b is the sum of its two
    biases; the GRU's recurrent bias inside the reset gate is kept separate. The dtype stays. A node
    with direction="bidirectional" becomes a `rnnjax.bidirectional` layer, one with "reverse"
    `rnnjax.recurrent(cell, reverse=True)`: `layer.apply(params, xs)`.

    What the node reads from the rest of the graph are arguments of `unroll`: X is xs [T, B, D]
    (with layout=1 it is [B, T, D]: pass `xs.swapaxes(0, 1)`), sequence_lens is `lengths`, initial_h
    and initial_c [directions, B, H] are the carry's h and c [B, H], one carry for each direction.
    onnxruntime returns zeros as the last state of a sequence of length 0, rnnjax the initial carry.

    Args:
      model: an `onnx.ModelProto`, or the path of an .onnx file.
      node: the name of the node, or of one of its outputs. None takes the model's only recurrent
        node. Layers that the model runs one after the other are nodes of their own: put their
        cells into `rnnjax.serial(...)`.
      return_options: return a dict of arguments for `unroll` as well, with what the model holds as
        constants: "carry" from initial_h and initial_c, "lengths" from sequence_lens. Without it,
        a constant other than zeros is an error.

    Returns:
      `(cell, params)`: a `vanilla`, `lstm`, `peephole_lstm` or `gru` cell, or a layer of it. With
      return_options, `(cell, params, options)`.

    Raises:
      TypeError: model is neither.
      ValueError: no recurrent node, or several and no `node`; weights that the graph computes; or
        an attribute that no cell here has, named: a `clip`, `input_forget`, activations without a
        counterpart.
      ImportError: onnx is not installed.

    Example:
      >>> import rnnjax
      >>> def run(path, xs):
      ...     cell, params = rnnjax.interop.from_onnx(path, "encoder")
      ...     return rnnjax.unroll(cell, params, xs)

    References:
      The operators' specification: https://onnx.ai/onnx/operators, RNN, LSTM and GRU.
    """
    check_flag("return_options", return_options)
    found = read_node(model, node)
    directions = [_gates(found, k) for k in range(DIRECTIONS[found.attributes["direction"]])]
    made = to_model([directions])
    options = _options(found, directions)
    if options and not return_options:
        raise ValueError(
            f"{found.label} has constants for {' and '.join(options)}: pass return_options=True, "
            "and what it returns to unroll(cell, params, xs, **options)"
        )
    return (*made, options) if return_options else made


def _gates(found: Node, k: int) -> Gates:
    """The weights of direction k."""
    order = ORDER[found.op]
    w_x, w_h = (split(found.arrays[role][k].T, order) for role in ("W", "R"))
    hidden = w_h[order[0]].shape[0]
    none = np.zeros(2 * len(order) * hidden, w_h[order[0]].dtype)
    biases = found.arrays["B"][k] if "B" in found.arrays else none
    b_x, b_h = (split(b, order) for b in np.split(biases, 2))
    b = {gate: b_x[gate] + b_h[gate] for gate in order}
    more = {}
    if "P" in found.arrays:
        more["p"] = join(split(found.arrays["P"][k], "iof"), "ifo")
    kind = "peephole_lstm" if more else "lstm"
    if found.op == "RNN":
        kind = ("vanilla", activations_of(found, k, ("Tanh",))[0])
    elif found.op == "LSTM":
        activations_of(found, k, ("Sigmoid", "Tanh", "Tanh"), fixed=True)
    else:
        activations_of(found, k, ("Sigmoid", "Tanh"), fixed=True)
        kind = ("gru", "before")  # n = tanh(x W_n + b_n + (r ⊙ h) W_hn + b_hn)
        if found.attributes["linear_before_reset"]:
            kind = ("gru", "after")  # n = tanh(x W_n + b_n + r ⊙ (h W_hn + b_hn))
            b["n"], more["b_hn"] = b_x["n"], b_h["n"]
    return Gates(
        kind, w_x, w_h, b, more, reverse=k == 1 or found.attributes["direction"] == "reverse"
    )


def _options(found: Node, directions: list[Gates]) -> dict[str, Any]:
    """Arguments of `unroll` that the model holds as constants; zeros are where a cell begins."""
    options: dict[str, Any] = {}
    axis = 1 if found.attributes["layout"] else 0
    states = {
        name.removeprefix("initial_"): np.moveaxis(found.arrays[name], axis, 0)
        for name in ("initial_h", "initial_c")
        if name in found.arrays
    }
    if any(map(np.any, states.values())):
        carries = []
        for k, gates in enumerate(directions):
            cell, params = to_cell(gates)
            mine = {name: to_jax(name, state[k]) for name, state in states.items()}
            batch = next(iter(mine.values())).shape[:1]
            carries.append(cell.initial_carry(params, batch)._replace(**mine))
        options["carry"] = carries[0] if len(carries) == 1 else tuple(carries)
    if "sequence_lens" in found.arrays:
        options["lengths"] = to_jax("sequence_lens", found.arrays["sequence_lens"])
    return options
