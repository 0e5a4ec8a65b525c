"""The layout of haste's layers, a CUDA library for PyTorch and TensorFlow."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnjax._checks import described
from rnnjax._types import Cell, Params
from rnnjax.interop._arrays import to_numpy
from rnnjax.interop._canonical import (
    Gates,
    join,
    split,
    split_all,
    to_model,
    to_network,
    zeros_like,
)
from rnnjax.interop._modules import listed, one_or_list
from rnnjax.interop._table import check_holds, check_one_direction

_LSTM, _GRU = "igfo", "zrn"


def from_haste(weights: Any) -> tuple[Cell, Params]:
    """Convert haste's LSTM, GRU or IndRNN to a cell and its params.

    Its LSTM has the gates in the order i, g, f, o, its GRU in the order z, r, h with the reset
    after the recurrent product and two biases, whose sum b is, but for the candidate's, of which
    b_hn is kept apart. Its IndRNN has the activation tanh.

    Args:
      weights: a `haste_pytorch.LSTM`, `GRU` or `IndRNN`, its state_dict, or a dict of arrays with
        the names kernel, recurrent_kernel, bias and recurrent_bias, or kernel, recurrent_scale and
        bias; or a list of these, layer by layer.

    Returns:
      `(cell, params)`: an `lstm`, `gru` or `indrnn` cell, or a `stack` of them.

    Raises:
      TypeError: any other object.
      ValueError: other names or shapes, or zoneout, which is `rnnjax.zoneout` here.

    Example:
      >>> import numpy as np, rnnjax
      >>> weights = {"kernel": np.ones((3, 16)), "recurrent_kernel": np.ones((4, 16))}
      >>> weights = {n: w.astype(np.float32) for n, w in weights.items()}
      >>> rnnjax.interop.from_haste(weights | {"bias": np.zeros(16, np.float32)})[0]
      lstm(4, dtype='float32')

    References:
      https://github.com/lmnt-com/haste/blob/master/docs/pytorch/haste_pytorch.md
    """
    return to_model([(_read(w),) for w in listed(weights)])


def _read(weights: Any) -> Gates:
    if getattr(weights, "zoneout", 0):
        raise ValueError(
            f"the layer has zoneout={weights.zoneout}, which acts in evaluation too: it would be "
            "lost. Pass its state_dict, and rnnjax.zoneout(cell, h=...) around the cell"
        )
    if hasattr(weights, "state_dict"):
        weights = weights.state_dict()
    if not isinstance(weights, Mapping):
        raise TypeError(
            f"weights must be a layer of haste or a dict of arrays, got {described(weights)}"
        )
    named = {str(name): to_numpy(str(name), w) for name, w in weights.items()}
    if set(named) == {"kernel", "recurrent_scale", "bias"}:
        kernel, u, b = (named[n] for n in ("kernel", "recurrent_scale", "bias"))
        return Gates(("indrnn", "tanh"), {"h": kernel}, {}, {"h": b}, {"u": u})
    names = ["kernel", "recurrent_kernel", "bias"]
    is_gru = "recurrent_bias" in named
    if set(named) - {"recurrent_bias"} != set(names):
        raise ValueError(
            "expected the arrays kernel, recurrent_kernel, bias and, of a GRU, recurrent_bias; or "
            f"kernel, recurrent_scale and bias; got {', '.join(named) or 'none'}"
        )
    arrays = [named[n] for n in names]
    if not is_gru:
        return split_all("lstm", _LSTM, arrays)
    gates, b_h = split_all(("gru", "after"), _GRU, arrays), split(named["recurrent_bias"], _GRU)
    b = {gate: b + b_h[gate] if gate != "n" else b for gate, b in gates.b.items()}
    return gates._replace(b=b, more={"b_hn": b_h["n"]})


def to_haste(cell: Cell, params: Params) -> Any:
    """Convert a cell and its params to the arrays of haste's layers. Inverse of `from_haste`.

    A GRU's two biases: bias gets all of the sum, recurrent_bias is zero, but for b_hn, which has
    its place there.

    Args:
      cell: an `lstm`, `gru(reset="after")` or `indrnn` (tanh) cell, or a `stack` of such.
      params: its params.

    Returns:
      A dict of NumPy arrays by haste's names; of a stack a list of them.

    Raises:
      ValueError: haste has no place for the cell; the error says what would be lost.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.indrnn(4, "tanh")
      >>> sorted(rnnjax.interop.to_haste(cell, cell.init(jax.random.key(0), 3)))
      ['bias', 'kernel', 'recurrent_scale']
    """
    network = to_network("to_haste", cell, params)
    check_holds("to_haste", "haste", network)
    return one_or_list([_write(g) for g in check_one_direction("to_haste", "haste", network)])


def _write(gates: Gates) -> dict[str, np.ndarray]:
    if gates.kind == ("indrnn", "tanh"):
        named = {"kernel": gates.w_x["h"], "recurrent_scale": gates.more["u"], "bias": gates.b["h"]}
        return named
    order = _LSTM if gates.kind == "lstm" else _GRU
    w_x, w_h, b = (join(block, order) for block in gates[1:4])
    named = {"kernel": w_x, "recurrent_kernel": w_h, "bias": b}
    if "b_hn" in gates.more:
        b_h = zeros_like(gates.b) | {"n": gates.more["b_hn"]}
        named["recurrent_bias"] = join(b_h, order)
    return named
