"""`from_torch`: PyTorch's recurrent modules as cells, without importing torch."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from rnnjax._types import Array, Cell, Params
from rnnjax.cells import GRUParams, LSTMParams, VanillaParams, gru, lstm, vanilla

_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


def from_torch(module: Any) -> tuple[Cell, Params]:
    """Convert a `torch.nn.RNN`, `LSTM` or `GRU` to a cell and its params.

        module(xs, h0)   becomes   rnnjax.unroll(cell, params, xs, carry=carry)

    The cell computes what the module does. The weights are copied, in their own dtype:
    transposed from [gates*H, D] to [D, gates*H]; the gates' order is the same, i, f, g, o and
    r, z, n. Where the module adds two biases, b is their sum; the GRU's b_hn, which the
    reset gate multiplies, is kept separate. A module with bias=False gets zero biases.

    xs are always time first here, `[T, B, D]`, whatever the module's `batch_first` says: with
    `batch_first=True` pass `xs.swapaxes(0, 1)`. The module's h0 [1, B, H] is `carry.h [B, H]`,
    its c0 `carry.c`.

    Args:
      module: a `torch.nn.RNN` (tanh or relu), `torch.nn.LSTM` or `torch.nn.GRU` with one layer,
        one direction and no projection.

    Returns:
      `(cell, params)`: a `vanilla`, `lstm` or `gru` cell, the latter with reset="after".

    Raises:
      TypeError: any other object, or weights of a dtype that NumPy does not have.
      ValueError: more than one layer, two directions, a projection, a weight that a hook computes
        (pruned, or normalized the older way), or float64 weights while JAX's float64 is off.

    Example:
      >>> import rnnjax
      >>> def as_rnnjax(torch_lstm, xs):
      ...     cell, params = rnnjax.interop.from_torch(torch_lstm)
      ...     return rnnjax.unroll(cell, params, xs)
    """
    mode = getattr(module, "mode", None)
    if mode not in _GATES or not hasattr(module, "named_parameters"):
        raise TypeError(
            f"from_torch takes a torch.nn.RNN, LSTM or GRU, got {type(module).__name__}: for a "
            "larger model pass its recurrent modules one by one"
        )
    _check_supported(module)
    w_x, w_h = _weight(module, "weight_ih_l0").T, _weight(module, "weight_hh_l0").T
    hidden, b_x, b_h = w_h.shape[0], np.zeros(w_h.shape[1], w_h.dtype), np.zeros_like(w_h[0])
    if module.bias:
        b_x, b_h = _weight(module, "bias_ih_l0"), _weight(module, "bias_hh_l0")
    if mode == "LSTM":
        return lstm(hidden, dtype=w_h.dtype), LSTMParams(*map(_to_jax, (w_x, w_h, b_x + b_h)))
    if mode == "GRU":
        # n = tanh(x W_xn + b_xn + r ⊙ (h W_hn + b_hn)): only r and z simply add both biases.
        b = np.concatenate([(b_x + b_h)[: 2 * hidden], b_x[2 * hidden :]])
        params = GRUParams(*map(_to_jax, (w_x, w_h, b, b_h[2 * hidden :])))
        return gru(hidden, reset="after", dtype=w_h.dtype), params
    cell = vanilla(hidden, "relu" if mode == "RNN_RELU" else "tanh", dtype=w_h.dtype)
    return cell, VanillaParams(*map(_to_jax, (w_x, w_h, b_x + b_h)))


def _check_supported(module: Any) -> None:
    if module.num_layers != 1:
        raise ValueError(
            f"the module has num_layers={module.num_layers} and from_torch takes one layer: move "
            "each layer's weights into a module of its own, and put their cells into "
            "rnnjax.stack(...)"
        )
    if module.bidirectional:
        raise ValueError(
            "the module is bidirectional and from_torch takes one direction: move each direction's "
            "weights (those of the second end in _reverse) into a module of its own, and put "
            "their cells into rnnjax.bidirectional(forward, backward)"
        )
    if getattr(module, "proj_size", 0):
        raise ValueError(
            f"the module has proj_size={module.proj_size}: no cell here projects its hidden state; "
            "use proj_size=0"
        )


def _weight(module: Any, name: str) -> np.ndarray:
    """A weight that the module computes with: a parameter, or what a parametrization makes of one.

    A weight that a hook computes before each call, as those of torch.nn.utils.prune and the older
    weight_norm and spectral_norm do, is as old as the last call.
    """
    own = dict(module.named_parameters(recurse=False))
    if name not in own and name not in getattr(module, "parametrizations", ()):
        computed = ", ".join(sorted(other for other in own if other.startswith(f"{name}_")))
        raise ValueError(
            f"{name} is no parameter of the module but computed from {computed or 'others'} by a "
            "hook: make it one with torch.nn.utils.prune.remove(module, name), remove_weight_norm "
            "or remove_spectral_norm, or use torch.nn.utils.parametrizations"
        )
    return _to_numpy(name, getattr(module, name))


def _to_numpy(name: str, weight: Any) -> np.ndarray:
    try:
        array = np.asarray(weight.detach().cpu().numpy())
    except TypeError as error:  # bfloat16
        raise TypeError(
            f"{name} has the dtype {weight.dtype}, which NumPy does not have: pass module.float()"
        ) from error
    if array.dtype == np.float64 and jnp.result_type(float) != jnp.float64:
        raise ValueError(
            f"{name} is float64 and JAX would round it to float32: enable float64 with "
            'jax.config.update("jax_enable_x64", True), or pass module.float()'
        )
    return array


def _to_jax(array: np.ndarray) -> Array:
    return jnp.array(array)  # a copy, so that training the module leaves it alone
