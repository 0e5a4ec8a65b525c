"""`from_onnx`: the recurrent nodes of an ONNX model as cells."""

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np

from rnnjax._checks import check_flag
from rnnjax._types import Carry, Params
from rnnjax.interop._canonical import Gates, join, split, to_cell, to_jax, to_model
from rnnjax.interop._onnx._activations import activations_of
from rnnjax.interop._onnx._node import DIRECTIONS, ORDER, Node, read_nodes


@overload
def from_onnx(
    model: Any, node: str | Sequence[str] | None = None, *, return_options: Literal[False] = False
) -> tuple[Any, Params]: ...
@overload
def from_onnx(
    model: Any, node: str | Sequence[str] | None = None, *, return_options: Literal[True]
) -> tuple[Any, Params, dict[str, Any]]: ...
def from_onnx(
    model: Any, node: str | Sequence[str] | None = None, *, return_options: bool = False
) -> Any:
    """Convert an `RNN`, `LSTM` or `GRU` node of an ONNX model to a cell and its params.

        Y, Y_h, Y_c = LSTM(X, ...)   becomes   carry, ys = rnnjax.unroll(cell, params, X)

    The cell computes what the node does: its gates are brought from the order i, o, f, c to
    i, f, g, o (z, r, h to r, z, n; peepholes i, o, f to i, f, o), and b is the sum of its two
    biases; the GRU's recurrent bias inside the reset gate is kept separate. The dtype stays. A node
    with direction="bidirectional" becomes a `rnnjax.bidirectional` layer, one with "reverse"
    `rnnjax.recurrent(cell, reverse=True)`: `layer.apply(params, xs)`.

    A node with the attribute clip becomes such a cell with the sum that each gate's activation
    reads kept within [-clip, clip], as onnxruntime computes it: c_t is not clipped before
    h_t = o tanh(c_t). It has no rule: no compiled kernel runs it, its gradient is autodiff's, and
    `load` needs it as its `cell`.

    What the values of the model's inputs enter are arguments of `unroll`: X is xs [T, B, D]
    (with layout=1 it is [B, T, D]: pass `xs.swapaxes(0, 1)`), sequence_lens is `lengths`, initial_h
    and initial_c [directions, B, H] are the carry's h and c [B, H], one carry for each direction.
    What the graph computes from constants is evaluated. An initial state that it gives to batches
    of any size, as PyTorch exports `h0.expand(-1, B, -1)`, comes as a `learned_carry` of the cell.
    onnxruntime returns zeros as the last state of a sequence of length 0, rnnjax the initial carry.

    Args:
      model: an `onnx.ModelProto`, or the path of an .onnx file.
      node: the name of the node, or of one of its outputs; names in a tuple for layers of which
        each reads the output of the one before, which become a `stack` or a `serial` layer. None
        takes the model's only recurrent node.
      return_options: return a dict of arguments for `unroll` as well, with what the model holds as
        constants: "carry" from initial_h and initial_c, "lengths" from sequence_lens. Without it,
        a constant other than zeros is an error.

    Returns:
      `(cell, params)`: a `vanilla`, `lstm`, `peephole_lstm`, `cifg` or `gru` cell, or a layer of
      them. With return_options, `(cell, params, options)`.

    Raises:
      TypeError: model is neither.
      ValueError: no recurrent node, or several and no `node`; nodes that are not in a row; weights
        that inputs enter, states that the inputs' sizes decide; or what no cell here has, named:
        activations without a counterpart, peepholes together with `input_forget`.
      ImportError: onnx is not installed.

    Example:
      >>> import rnnjax
      >>> def run(path, xs):
      ...     cell, params = rnnjax.interop.from_onnx(path, ("encoder_0", "encoder_1"))
      ...     return rnnjax.unroll(cell, params, xs)

    References:
      The operators' specification: https://onnx.ai/onnx/operators, RNN, LSTM and GRU.
    """
    check_flag("return_options", return_options)
    nodes = read_nodes(model, node)
    network = [[_gates(found, k) for k in range(_directions(found))] for found in nodes]
    options = _options(nodes, network)
    if options and not return_options:
        labels = " and ".join(found.label for found in nodes)
        raise ValueError(
            f"{labels} has constants for {' and '.join(options)}: pass return_options=True, and "
            "what it returns to unroll(cell, params, xs, **options)"
        )
    made = to_model(network)
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
        if found.attributes["input_forget"]:  # f = 1 - i, whatever its weights
            kind = "cifg"
            for blocks in (w_x, w_h, b):
                del blocks["f"]
    else:
        activations_of(found, k, ("Sigmoid", "Tanh"), fixed=True)
        kind = ("gru", "before")  # n = tanh(x W_n + b_n + (r ⊙ h) W_hn + b_hn)
        if found.attributes["linear_before_reset"]:
            kind = ("gru", "after")  # n = tanh(x W_n + b_n + r ⊙ (h W_hn + b_hn))
            b["n"], more["b_hn"] = b_x["n"], b_h["n"]
    reverse, clip = found.attributes["direction"] == "reverse", found.attributes["clip"]
    begin = {role.removeprefix("initial_"): each[k] for role, each in found.begins.items()}
    return Gates(kind, w_x, w_h, b, more, reverse=reverse, clip=clip, begin=begin)


def _directions(found: Node) -> int:
    return DIRECTIONS[found.attributes["direction"]]


def _options(nodes: list[Node], network: list[list[Gates]]) -> dict[str, Any]:
    """Arguments of `unroll` that the model holds as constants; zeros are where a cell begins."""
    options: dict[str, Any] = {}
    states = [_states(found) for found in nodes]
    if any(np.any(state) for layer in states for state in layer.values()):
        batch = next(state.shape[1] for layer in states for state in layer.values())
        carries = []
        for layer, layer_states in zip(network, states, strict=True):
            each = [_carry(g, layer_states, k, batch) for k, g in enumerate(layer)]
            carries.append(each[0] if len(each) == 1 else tuple(each))
        options["carry"] = carries[0] if len(carries) == 1 else tuple(carries)
    lengths = [n.arrays["sequence_lens"] for n in nodes if "sequence_lens" in n.arrays]
    if lengths and (
        len(lengths) < len(nodes) or any(np.any(other != lengths[0]) for other in lengths)
    ):
        raise ValueError(
            "the nodes have different sequence_lens, or some of them none: convert each by itself"
        )
    if lengths:
        options["lengths"] = to_jax("sequence_lens", lengths[0])
    return options


def _states(found: Node) -> dict[str, np.ndarray]:
    """Constant initial states [directions, B, H], by the field of the carry."""
    axis = 1 if found.attributes["layout"] else 0
    roles = {"h": "initial_h", "c": "initial_c"}
    return {
        field: np.moveaxis(found.arrays[role], axis, 0)
        for field, role in roles.items()
        if role in found.arrays
    }


def _carry(gates: Gates, states: dict[str, np.ndarray], k: int, batch: int) -> Carry:
    cell, params = to_cell(gates)
    mine = {field: to_jax(f"initial_{field}", state[k]) for field, state in states.items()}
    return cell.initial_carry(params, (batch,))._replace(**mine)
