"""Equinox's recurrent cells: PyTorch's layout with one bias."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import described
from rnnjax._types import Cell, Params
from rnnjax.interop._arrays import peer, to_numpy
from rnnjax.interop._canonical import (
    GATES,
    Gates,
    hidden_size,
    input_size,
    join,
    split_all,
    to_model,
    to_network,
)
from rnnjax.interop._modules import check_defined_by, foreign_code, listed, one_or_list
from rnnjax.interop._table import check_holds, check_one_direction

_KINDS: dict[str, Any] = {"LSTMCell": "lstm", "GRUCell": ("gru", "after")}


def from_equinox(module: Any) -> tuple[Cell, Params]:
    """Convert an Equinox LSTMCell or GRUCell to a cell and its params.

        cell(x, state)   becomes   cell.step(params, carry, x)[0]

    Equinox's state of an LSTM is (h, c), as `LSTMCarry(h, c)`. Its cells read one example; cells
    here read any batch dimensions, `x [..., D]`. Without biases they are zeros.

    Args:
      module: an `eqx.nn.LSTMCell` or `GRUCell`, or a list of them, layer by layer.

    Returns:
      `(cell, params)`: an `lstm` or `gru` cell, or a `stack` of them.

    Raises:
      TypeError: any other object.

    Example:
      >>> import rnnjax
      >>> def as_rnnjax(eqx_cells, xs):
      ...     cell, params = rnnjax.interop.from_equinox(eqx_cells)
      ...     return rnnjax.unroll(cell, params, xs)

    References:
      https://docs.kidger.site/equinox/api/nn/rnn/
    """
    return to_model([(_read(m),) for m in listed(module)])


def _read(module: Any) -> Gates:
    kind = _KINDS.get(type(module).__name__)
    if kind is None or not hasattr(module, "use_bias"):
        raise TypeError(
            f"module must be an equinox.nn.LSTMCell or GRUCell, got {described(module)}"
        )
    check_defined_by(("equinox",), module, "__call__", "pass one of Equinox's with its weights")
    order = GATES[kind]
    w_x, w_h = (to_numpy(name, getattr(module, name)).T for name in ("weight_ih", "weight_hh"))
    b = np.zeros(w_h.shape[1], w_h.dtype)
    more = {"b_hn": b[: w_h.shape[0]]} if "n" in order else {}
    if module.use_bias:
        b = to_numpy("bias", module.bias)
        more = {"b_hn": to_numpy("bias_n", module.bias_n)} if more else {}
    return split_all(kind, order, (w_x, w_h, b), more)


def to_equinox(cell: Cell, params: Params) -> Any:
    """Convert a cell and its params to an Equinox module. Inverse of `from_equinox`.

    Args:
      cell: an `lstm` or `gru(reset="after")` cell, or a `stack` of such.
      params: its params.

    Returns:
      An `eqx.nn.LSTMCell` or `GRUCell`; of a stack a list of them.

    Raises:
      ValueError: Equinox has no place for the cell; the error says what would be lost.
      ImportError: Equinox is not installed.

    Example:
      >>> import rnnjax
      >>> def as_equinox(params):
      ...     return rnnjax.interop.to_equinox(rnnjax.lstm(4), params)
    """
    network = to_network("to_equinox", cell, params)
    check_holds("to_equinox", "Equinox", network)
    layers = check_one_direction("to_equinox", "Equinox", network)
    eqx = peer("equinox")
    with foreign_code():
        return one_or_list([_module(eqx, gates) for gates in layers])


def _module(eqx: Any, gates: Gates) -> Any:
    order = GATES[gates.kind]
    kind = eqx.nn.LSTMCell if gates.kind == "lstm" else eqx.nn.GRUCell
    dtype = gates.b[order[0]].dtype
    made = kind(input_size(gates), hidden_size(gates), dtype=dtype, key=jax.random.key(0))
    weights = {
        "weight_ih": join(gates.w_x, order).T,
        "weight_hh": join(gates.w_h, order).T,
        "bias": join(gates.b, order),
    }
    if "b_hn" in gates.more:
        weights["bias_n"] = gates.more["b_hn"]
    names = tuple(weights)
    new = [jnp.array(w) for w in weights.values()]
    return eqx.tree_at(lambda module: [getattr(module, name) for name in names], made, new)
