"""Flax nnx's recurrent cells, and what linen's share with them."""

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
    name_and_option,
    split_all,
    to_model,
    to_network,
)
from rnnjax.interop._modules import (
    activation_of,
    check_activations,
    check_zero_carry,
    foreign_code,
    is_plain,
    listed,
)
from rnnjax.interop._table import check_holds
from rnnjax.unrolling import Layer

_Directions = tuple[Gates, ...]


def from_nnx(module: Any) -> tuple[Any, Params]:
    """Convert Flax nnx cells to a cell and its params.

        cell(carry, x)[0]   becomes   cell.step(params, carry, x)[0]

    nnx's carry of an LSTM is (c, h), here it is `LSTMCarry(h, c)`. nnx's RNN reads `[B, T, D]`
    unless it is told otherwise, `unroll` always reads `[T, B, D]`.

    Args:
      module: an `nnx.LSTMCell`, `OptimizedLSTMCell`, `GRUCell` or `SimpleCell`; an `nnx.RNN` of
        one, an `nnx.Bidirectional` of two; an `nnx.Sequential` or a list of these, layer by layer.

    Returns:
      `(cell, params)`; or `(layer, params)` where something runs backwards.

    Raises:
      TypeError: any other object, or one whose class has a forward pass of its own.
      ValueError: what no cell here computes: other activations, `residual=True`, a carry_init
        other than zeros, directions that are not concatenated; float64 weights while JAX's
        float64 is off.

    Example:
      >>> import jax, rnnjax
      >>> from flax import nnx
      >>> cell, params = rnnjax.interop.from_nnx(nnx.GRUCell(3, 4, rngs=nnx.Rngs(0)))
      >>> rnnjax.unroll(cell, params, jax.numpy.ones((5, 2, 3)))[1].shape
      (5, 2, 4)

    References:
      https://flax.readthedocs.io/en/latest/api_reference/flax.nnx/nn/recurrent.html
    """
    nnx = peer("flax.nnx")
    if is_plain(module, nnx.Sequential):
        module = list(module.layers)
    return to_model([_nnx_layer(m) for m in listed(module)])


def _nnx_layer(module: Any) -> _Directions:
    nnx = peer("flax.nnx")
    if is_plain(module, nnx.Bidirectional):
        cells = cells_of_both("from_nnx", module, nnx.RNN)
        return both("from_nnx", module, *map(_nnx_layer, cells))
    if is_plain(module, nnx.RNN):
        return one_direction("from_nnx", module, _nnx_layer(module.cell))
    where = type(module).__name__
    if hasattr(module, "carry_init"):
        check_zero_carry(where, module)
    if is_plain(module, nnx.SimpleCell):
        kind = simple(where, module)
        w_x, w_h = _kernel(module, "dense_i"), _kernel(module, "dense_h")
        return (Gates(kind, {"h": w_x}, {"h": w_h}, {"h": _bias(module, "dense_i")}),)
    if is_plain(module, nnx.LSTMCell):
        check_activations(where, module, gate_fn="sigmoid", activation_fn="tanh")
        names = {gate: gate if gate != "f" else "f_" for gate in "ifgo"}
        w_x = {gate: _kernel(module, f"i{name}") for gate, name in names.items()}
        w_h = {gate: _kernel(module, f"h{gate}") for gate in names}
        return (Gates("lstm", w_x, w_h, {gate: _bias(module, f"h{gate}") for gate in names}),)
    if is_plain(module, nnx.OptimizedLSTMCell, nnx.GRUCell):
        check_activations(where, module, gate_fn="sigmoid", activation_fn="tanh")
        is_gru = isinstance(module, nnx.GRUCell)
        kind = ("gru", "after") if is_gru else "lstm"
        arrays = [_kernel(module, name) for name in ("dense_i", "dense_h")]
        arrays.append(_bias(module, "dense_i" if is_gru else "dense_h"))
        gates = split_all(kind, GATES[kind], arrays)
        more = {"b_hn": np.zeros_like(gates.b["n"])} if is_gru else {}
        return (gates._replace(more=more),)
    raise TypeError(
        "module must be an nnx.LSTMCell, OptimizedLSTMCell, GRUCell or SimpleCell, or an nnx.RNN, "
        f"Bidirectional or Sequential of these, got {described(module)}"
    )


def _kernel(module: Any, name: str) -> np.ndarray:
    return to_numpy(f"{name}.kernel", getattr(module, name).kernel)


def _bias(module: Any, name: str) -> np.ndarray:
    return to_numpy(f"{name}.bias", getattr(module, name).bias)


def simple(where: str, module: Any) -> tuple[str, str]:
    if module.residual:
        raise ValueError(
            f"{where} has residual=True, and no cell here adds h to its sum: it would be lost"
        )
    return "vanilla", activation_of(f"{where}.activation_fn", module.activation_fn)


def one_direction(name: str, rnn: Any, layer: _Directions) -> _Directions:
    """The layer of an RNN of nnx or linen, which may run backwards."""
    if rnn.reverse and not rnn.keep_order:
        raise ValueError(
            f"{name}: an RNN with reverse=True, keep_order=False returns its outputs backwards in "
            "time; here they keep their place: pass the cell, with rnnjax.recurrent(cell, "
            "reverse=True)"
        )
    return tuple(gates._replace(reverse=rnn.reverse) for gates in layer)


def cells_of_both(name: str, module: Any, rnn: Any) -> list[Any]:
    """The cells of a Bidirectional's two RNNs, which it runs forwards and backwards with outputs in
    their place, whatever reverse and keep_order they have of their own."""
    rnns = (module.forward_rnn, module.backward_rnn)
    for part in rnns:
        if not is_plain(part, rnn):
            raise TypeError(
                f"{name}: a Bidirectional of two RNNs is expected, got {described(part)}"
            )
    return [part.cell for part in rnns]


def both(name: str, module: Any, forwards: _Directions, backwards: _Directions) -> _Directions:
    """The layer of a Bidirectional of nnx or linen."""
    merged = module.merge_fn(jnp.zeros((1, 2)), jnp.ones((1, 2)))
    if np.shape(merged) != (1, 4) or not np.array_equal(merged, [[0, 0, 1, 1]]):
        raise ValueError(
            f"{name}: the module's merge_fn is {described(module.merge_fn)}, and "
            "rnnjax.bidirectional concatenates: it would be lost"
        )
    (forward,), (backward,) = forwards, backwards
    return forward._replace(reverse=False), backward._replace(reverse=True)


def to_nnx(cell: Cell | Layer, params: Params) -> Any:
    """Convert a cell or layer and its params to Flax nnx modules.

    Inverse of `from_nnx`. The modules compute in the dtype of the params.

    Args:
      cell: a `vanilla`, `lstm`, or `gru(reset="after")` cell whose b_hn is zero, a `stack` of
        such, or a `bidirectional`, `recurrent` or `serial` of these.
      params: its params.

    Returns:
      An `nnx.OptimizedLSTMCell`, `GRUCell` or `SimpleCell` for a cell; for a layer an `nnx.RNN` or
      `nnx.Bidirectional`, in an `nnx.Sequential` where there are several. These read `[B, T, D]`.

    Raises:
      ValueError: nnx has no place for the cell; the error says what would be lost. Its GRUCell has
        no b_hn, which every GRU of PyTorch or Flax linen has.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.lstm(4)
      >>> rnnjax.interop.to_nnx(cell, cell.init(jax.random.key(0), 3)).dense_i.kernel.shape
      (3, 16)
    """
    network = to_network("to_nnx", cell, params)
    check_holds("to_nnx", "Flax nnx", network)
    if isinstance(cell, Cell) and len(network) == 1:
        return _to_nnx(network[0][0])
    nnx = peer("flax.nnx")
    layers = [assembled(nnx, [_to_nnx(gates) for gates in layer], layer) for layer in network]
    return layers[0] if len(layers) == 1 else nnx.Sequential(*layers)


def assembled(flax: Any, modules: list[Any], directions: Any) -> Any:
    """An RNN of one direction, of nnx or linen, or both."""
    if len(modules) == 2:
        return flax.Bidirectional(*map(flax.RNN, modules))
    return flax.RNN(modules[0], reverse=directions[0].reverse, keep_order=directions[0].reverse)


def _to_nnx(gates: Gates) -> Any:
    name, option = name_and_option(gates.kind)
    order, b_hn = GATES[gates.kind], gates.more.get("b_hn")
    if b_hn is not None and np.any(b_hn):
        raise ValueError(
            "to_nnx: nnx.GRUCell has no bias inside the reset gate, and params.b_hn is not zero: "
            "it would be lost. flax.linen.GRUCell has one: use to_linen"
        )
    nnx, dtype = peer("flax.nnx"), gates.b[order[0]].dtype
    zeros = jax.nn.initializers.zeros  # drawing orthogonal matrices fails in half precision
    options: dict[str, Any] = {"kernel_init": zeros, "recurrent_kernel_init": zeros}
    options |= {"dtype": dtype, "param_dtype": dtype, "rngs": nnx.Rngs(0)}
    if name == "vanilla":
        options["activation_fn"] = ACTIVATION_FUNCTIONS[option]
    kind = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell, "vanilla": nnx.SimpleCell}[name]
    with foreign_code():
        module: Any = kind(input_size(gates), hidden_size(gates), **options)
    module.dense_i.kernel[...] = jnp.array(join(gates.w_x, order))
    module.dense_h.kernel[...] = jnp.array(join(gates.w_h, order))
    biased = module.dense_h if name == "lstm" else module.dense_i
    biased.bias[...] = jnp.array(join(gates.b, order))
    return module


ACTIVATION_FUNCTIONS: dict[str | None, Any] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "identity": lambda z: z,
}
