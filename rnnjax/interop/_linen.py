"""Flax linen's recurrent cells: one kernel a gate, by name."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from rnnjax._checks import described
from rnnjax._types import Cell, Params
from rnnjax.interop._arrays import peer, to_numpy
from rnnjax.interop._canonical import (
    GATES,
    Gates,
    hidden_size,
    join,
    name_and_option,
    split_all,
    to_model,
    to_network,
    zeros_like,
)
from rnnjax.interop._modules import (
    add_to_gate,
    check_activations,
    check_size,
    check_zero_carry,
    is_plain,
)
from rnnjax.interop._nnx import (
    ACTIVATION_FUNCTIONS,
    assembled,
    both,
    cells_of_both,
    one_direction,
    simple,
)
from rnnjax.interop._table import check_holds
from rnnjax.unrolling import Layer

_CONV = "igfo"


def from_linen(
    module: Any, variables: Any, *, size: tuple[int, int] | None = None
) -> tuple[Any, Params]:
    """Convert Flax linen cells with their variables to a cell and its params.

        module.apply(variables, carry, x)   becomes   cell.step(params, carry, x)

    linen's carry of an LSTM is (c, h), here it is `LSTMCarry(h, c)`. linen's RNN reads `[B, T, D]`
    unless it is told otherwise, `unroll` always reads `[T, B, D]`. `ConvLSTMCell` adds 1 to its
    forget gate in the forward pass; here that is part of the bias.

    Args:
      module: an `nn.LSTMCell`, `OptimizedLSTMCell`, `GRUCell`, `MGUCell`, `SimpleCell` or a 2-D
        `ConvLSTMCell`; an `nn.RNN` of one, an `nn.Bidirectional` of two, an `nn.Sequential` of
        these. It says what the variables cannot: activations and directions.
      variables: what `module.init` returned, or the "params" in it.
      size: (height, width) of the images of a `ConvLSTMCell`.

    Returns:
      `(cell, params)`; or `(layer, params)` where something runs backwards.

    Raises:
      TypeError: any other object, or one whose class has a forward pass of its own.
      ValueError: what no cell here computes: other activations, `residual=True`, strides, a
        carry_init other than zeros, directions that are not concatenated; variables of another
        module.

    Example:
      >>> import flax.linen as nn, jax, rnnjax
      >>> module = nn.MGUCell(4, param_dtype=jax.numpy.float32)
      >>> variables = module.init(jax.random.key(0), jax.numpy.zeros(4), jax.numpy.zeros(3))
      >>> rnnjax.interop.from_linen(module, variables)[0]
      mgu(4, variant='flax', dtype='float32')

    References:
      https://flax-linen.readthedocs.io/en/latest/api_reference/flax.linen/layers.html
    """
    if not isinstance(variables, Mapping):
        raise TypeError(
            f"variables must be the dict that module.init returned, got {described(variables)}"
        )
    linen, params = peer("flax.linen"), variables.get("params", variables)
    if is_plain(module, linen.Sequential):
        parts = [(m, _sub(params, f"layers_{k}")) for k, m in enumerate(module.layers)]
    else:
        parts = [(module, params)]
    return to_model([_layer(m, p, size) for m, p in parts])


def _layer(module: Any, params: Any, size: Any) -> tuple[Gates, ...]:
    linen = peer("flax.linen")
    if is_plain(module, linen.Bidirectional):
        cells = cells_of_both("from_linen", module, linen.RNN)
        parts = [_sub(_sub(params, name), "cell") for name in _RNNS]
        read = [_layer(*pair, size) for pair in zip(cells, parts, strict=True)]
        return both("from_linen", module, *read)
    if is_plain(module, linen.RNN):
        return one_direction("from_linen", module, _layer(module.cell, _sub(params, "cell"), size))
    kind = _kind(module)
    size = check_size(kind, size)
    if kind == "conv_lstm":
        return (_conv(params, size),)
    if kind[0] == "vanilla":
        w_x, w_h, b = (_get(params, n, part) for n, part in _SIMPLE)
        return (Gates(kind, {"h": w_x}, {"h": w_h}, {"h": b}),)
    order = GATES[kind]
    w_x = {gate: _get(params, f"i{gate}", "kernel") for gate in order}
    w_h = {gate: _get(params, f"h{gate}", "kernel") for gate in order}
    side = "h" if kind == "lstm" else "i"
    b = {gate: _get(params, f"{side}{gate}", "bias") for gate in order}
    has_b_hn = kind in (("gru", "after"), ("mgu", "flax"))
    return (Gates(kind, w_x, w_h, b, {"b_hn": _get(params, "hn", "bias")} if has_b_hn else {}),)


_RNNS = ("forward_rnn", "backward_rnn")
_SIMPLE = (("i", "kernel"), ("h", "kernel"), ("i", "bias"))


def _kind(module: Any) -> Any:
    linen, where = peer("flax.linen"), type(module).__name__
    if hasattr(module, "carry_init"):
        check_zero_carry(where, module)
    if is_plain(module, linen.SimpleCell):
        return simple(where, module)
    if is_plain(module, linen.ConvLSTMCell):
        strides = module.strides or (1, 1)
        if len(module.kernel_size) != 2 or set(strides) != {1} or module.padding != "SAME":
            raise ValueError(
                f"conv_lstm convolves images with strides of 1 and SAME padding, got {where} with "
                f"kernel_size={tuple(module.kernel_size)}, strides={strides}, padding="
                f"{module.padding!r}: they would be lost"
            )
        return "conv_lstm"
    kinds: dict[Any, Any] = {
        linen.LSTMCell: "lstm",
        linen.OptimizedLSTMCell: "lstm",
        linen.GRUCell: ("gru", "after"),
        linen.MGUCell: ("mgu", "flax" if getattr(module, "reset_gate", True) else "flax_no_reset"),
    }
    if type(module) not in kinds:
        raise TypeError(
            "module must be an nn.LSTMCell, OptimizedLSTMCell, GRUCell, MGUCell, SimpleCell or "
            "ConvLSTMCell, or an nn.RNN, Bidirectional or Sequential of these, and its variables, "
            f"got {described(module)}"
        )
    check_activations(where, module, gate_fn="sigmoid", activation_fn="tanh")
    return kinds[type(module)]


def _sub(params: Any, name: str) -> Any:
    if not isinstance(params, Mapping) or name not in params:
        raise ValueError(
            f"the variables have no {name!r} among {described(params)}: pass those of this module"
        )
    return params[name]


def _get(params: Any, name: str, part: str) -> np.ndarray:
    return to_numpy(f"{name}.{part}", _sub(_sub(params, name), part))


def _conv(params: Any, size: tuple[int, int] | None) -> Gates:
    w_x, w_h = _get(params, "ih", "kernel"), _get(params, "hh", "kernel")
    b = np.zeros(w_x.shape[-1], w_x.dtype)
    for name in ("ih", "hh"):
        if "bias" in _sub(params, name):
            b = b + _get(params, name, "bias")
    return add_to_gate(split_all("conv_lstm", _CONV, (w_x, w_h, b), size=size), "f", 1)


def to_linen(cell: Cell | Layer, params: Params) -> tuple[Any, dict[str, Any]]:
    """Convert a cell or layer and its params to a Flax linen module and its variables.

    Inverse of `from_linen`. The module computes in the dtype of the params.

    Args:
      cell: a `vanilla`, `lstm`, `gru(reset="after")`, `mgu` of Flax's variants or `conv_lstm` cell,
        a `stack` of such, or a `bidirectional`, `recurrent` or `serial` of these.
      params: its params.

    Returns:
      `(module, variables)`: an `nn.OptimizedLSTMCell`, `GRUCell`, `MGUCell`, `SimpleCell` or
      `ConvLSTMCell` for a cell; for a layer an `nn.RNN` or `nn.Bidirectional`, in an
      `nn.Sequential` where there are several. These read `[B, T, D]`.

    Raises:
      ValueError: linen has no place for the cell; the error says what would be lost.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.gru(4)
      >>> module, variables = rnnjax.interop.to_linen(cell, cell.init(jax.random.key(0), 3))
      >>> sorted(variables["params"])
      ['hn', 'hr', 'hz', 'in', 'ir', 'iz']
    """
    network = to_network("to_linen", cell, params)
    check_holds("to_linen", "Flax linen", network)
    if isinstance(cell, Cell) and len(network) == 1:
        return _module(network[0][0]), {"params": _write(network[0][0])}
    linen = peer("flax.linen")
    layers = [assembled(linen, [_module(gates) for gates in layer], layer) for layer in network]
    written = [_write_layer(layer) for layer in network]
    if len(layers) == 1:
        return layers[0], {"params": written[0]}
    named = {f"layers_{k}": p for k, p in enumerate(written)}
    return linen.Sequential(layers), {"params": named}


def _write_layer(layer: Any) -> dict[str, Any]:
    each = [{"cell": _write(gates)} for gates in layer]
    return each[0] if len(each) == 1 else dict(zip(_RNNS, each, strict=True))


def _module(gates: Gates) -> Any:
    linen, (name, option) = peer("flax.linen"), name_and_option(gates.kind)
    hidden, dtype = hidden_size(gates), gates.b[GATES[gates.kind][0]].dtype
    options: dict[str, Any] = {"dtype": dtype, "param_dtype": dtype}
    if name == "vanilla":
        return linen.SimpleCell(hidden, activation_fn=ACTIVATION_FUNCTIONS[option], **options)
    if name == "mgu":
        return linen.MGUCell(hidden, reset_gate=option == "flax", **options)
    if name == "conv_lstm":
        return linen.ConvLSTMCell(hidden, gates.w_x["i"].shape[:2], **options)
    return (linen.GRUCell if name == "gru" else linen.OptimizedLSTMCell)(hidden, **options)


def _write(gates: Gates) -> dict[str, Any]:
    params: dict[str, Any]
    if gates.kind == "conv_lstm":
        gates = add_to_gate(gates, "f", -1)
        b, none = (join(block, _CONV) for block in (gates.b, zeros_like(gates.b)))
        params = {
            "ih": {"kernel": join(gates.w_x, _CONV), "bias": b},
            "hh": {"kernel": join(gates.w_h, _CONV), "bias": none},
        }
    elif gates.kind[0] == "vanilla":
        params = {
            "i": {"kernel": gates.w_x["h"], "bias": gates.b["h"]},
            "h": {"kernel": gates.w_h["h"]},
        }
    else:
        params = {f"i{gate}": {"kernel": w} for gate, w in gates.w_x.items()}
        params |= {f"h{gate}": {"kernel": w} for gate, w in gates.w_h.items()}
        for gate, b in gates.b.items():
            params[f"{'h' if gates.kind == 'lstm' else 'i'}{gate}"]["bias"] = b
        if "b_hn" in gates.more:
            params["hn"]["bias"] = gates.more["b_hn"]
    return {name: {part: jnp.array(w) for part, w in sub.items()} for name, sub in params.items()}
