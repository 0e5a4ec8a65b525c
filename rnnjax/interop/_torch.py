"""PyTorch's recurrent modules and their state_dicts, without importing torch where it can."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from rnnjax._checks import check_flag, described
from rnnjax._types import Cell, Params
from rnnjax.interop._arrays import peer, to_tensor
from rnnjax.interop._canonical import (
    GATES,
    Gates,
    Network,
    hidden_size,
    input_size,
    join,
    name_and_option,
    split,
    to_model,
    to_network,
    zeros_like,
)
from rnnjax.interop._table import check_holds, check_one_size
from rnnjax.interop._torch_sources import of_module, of_state
from rnnjax.unrolling import Layer


def from_torch(
    module: Any, *, prefix: str | None = None, nonlinearity: Literal["tanh", "relu"] | None = None
) -> tuple[Any, Params]:
    """Convert a PyTorch RNN, LSTM or GRU, or its state_dict, to a cell and its params.

        module(xs, h0)   becomes   rnnjax.unroll(cell, params, xs, carry=carry)

    One layer is a `vanilla`, `lstm`, `lstm_projected` or `gru` cell, several are a `stack` of them.
    With two directions it is a `Layer`, a `bidirectional` or a `serial` of them:

        module(xs)       becomes   layer.apply(params, xs)

    It computes what the module does in evaluation. Dropout between layers is PyTorch's training
    alone: for it put `rnnjax.input_dropout(cell, p)` around the cells of the stack but the first,
    with the same params. The weights are copied in their own dtype, from any
    device: transposed from [gates*H, D] to [D, gates*H]; the order of the gates is the same, i, f,
    g, o and r, z, n. Where PyTorch adds two biases, b is their sum; the GRU's b_hn, which the reset
    gate multiplies, is kept apart. Without biases they are zeros.

    xs are always time first here, `[T, B, D]`, whatever `batch_first` says: with `batch_first=True`
    pass `xs.swapaxes(0, 1)`. A module's h0 `[layers * directions, B, H]` holds one entry a cell:
    `carry.h` is h0[0] of one cell, and a stack's carry is a tuple with one entry a layer.

    Args:
      module: a `torch.nn.RNN`, `LSTM`, `GRU`, `RNNCell`, `LSTMCell` or `GRUCell`; or a state_dict
        of one, or of a model with one in it, of tensors or arrays.
      prefix: the name of the module in a state_dict of a larger model, such as "encoder.rnn".
      nonlinearity: "tanh" or "relu", which the state_dict of an RNN does not say.

    Returns:
      `(cell, params)`; or `(layer, params)` with two directions.

    Raises:
      TypeError: any other object, or one whose class has a forward pass of its own.
      ValueError: a state_dict with no recurrent module, several, or weights missing; an RNN's
        without `nonlinearity`; a weight that a hook computes (pruned, or normalized the older way);
        float64 weights while JAX's float64 is off.

    Example:
      >>> import numpy as np, rnnjax
      >>> state = {
      ...     "rnn.weight_ih_l0": np.ones((16, 3)), "rnn.weight_hh_l0": np.ones((16, 4)),
      ...     "rnn.bias_ih_l0": np.zeros(16), "rnn.bias_hh_l0": np.zeros(16), "out.bias": np.ones(2)
      ... }
      >>> state = {name: w.astype(np.float32) for name, w in state.items()}
      >>> cell, params = rnnjax.interop.from_torch(state)
      >>> cell, rnnjax.unroll(cell, params, np.ones((5, 2, 3)))[1].shape
      (lstm(4, dtype='float32'), (5, 2, 4))

    References:
      https://docs.pytorch.org/docs/stable/nn.html#recurrent-layers
    """
    if nonlinearity not in (None, "tanh", "relu"):
        raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    if not isinstance(prefix, str | None):
        raise TypeError(f"prefix must be a str, such as 'encoder.rnn', got {described(prefix)}")
    module = getattr(module, "_orig_mod", module)  # what torch.compile wraps
    if isinstance(module, Mapping):
        return to_model(_read(of_state(module, prefix), nonlinearity))
    weights = of_module(module)
    if prefix is not None or nonlinearity is not None:
        raise ValueError(
            "prefix and nonlinearity are for a state_dict, and a module says what it is: leave "
            f"them out, got prefix={prefix!r}, nonlinearity={nonlinearity!r}"
        )
    mode = getattr(module, "mode", "")
    nonlinearity = "relu" if mode == "RNN_RELU" else getattr(module, "nonlinearity", "tanh")
    return to_model(_read(weights, nonlinearity))


def _read(weights: dict[str, np.ndarray], nonlinearity: str | None) -> Network:
    layers = 1 + max(int(m[1]) for name in weights if (m := re.search(r"_l(\d+)", name)))
    sides = ("", "_reverse") if any(name.endswith("_reverse") for name in weights) else ("",)
    network = []
    for k in range(layers):
        each = [_read_one(weights, f"_l{k}{side}", nonlinearity) for side in sides]
        network.append(tuple(g._replace(reverse=n == 1) for n, g in enumerate(each)))
    return network


def _read_one(weights: dict[str, np.ndarray], end: str, nonlinearity: str | None) -> Gates:
    def get(name: str) -> np.ndarray:
        if f"{name}{end}" not in weights:
            raise ValueError(
                f"{name}{end} is missing beside {', '.join(sorted(weights))}: the weights of an "
                "RNN, LSTM or GRU are expected, in every layer and direction"
            )
        return weights[f"{name}{end}"].T

    w_x, w_h = get("weight_ih"), get("weight_hh")
    more = {}
    if f"weight_hr{end}" in weights:
        more["w_p"] = get("weight_hr")
    hidden = more["w_p"].shape[0] if more else w_h.shape[0]
    gates, rest = divmod(w_h.shape[-1], hidden)
    kinds = {1: ("vanilla", nonlinearity), 3: ("gru", "after"), 4: "lstm"}
    if w_h.ndim != 2 or rest or gates not in kinds or (more and gates != 4):
        raise ValueError(
            f"weight_hh{end} has shape {w_h.T.shape}, expected [gates * {hidden}, ...] with 1, 3 "
            "or 4 gates, those of an RNN, GRU or LSTM"
        )
    kind = "lstm_projected" if more else kinds[gates]
    if kind == ("vanilla", None):
        raise ValueError(
            "the state_dict of an RNN does not say what its activation is: pass nonlinearity="
            "'tanh' (PyTorch's default) or 'relu'"
        )
    order = GATES[kind]
    b_x = b_h = np.zeros(w_h.shape[1], w_h.dtype)
    if any(name.startswith("bias") for name in weights):
        b_x, b_h = get("bias_ih"), get("bias_hh")
    for name, bias in (("bias_ih", b_x), ("bias_hh", b_h)):
        if bias.shape != w_h.shape[1:]:
            raise ValueError(f"{name}{end} has shape {bias.shape}, expected {w_h.shape[1:]}")
    b = split(b_x + b_h, order)
    if gates == 3:
        # n = tanh(x W_xn + b_xn + r ⊙ (h W_hn + b_hn)): only r and z simply add both biases.
        b["n"], more["b_hn"] = split(b_x, order)["n"], split(b_h, order)["n"]
    return Gates(kind, split(w_x, order), split(w_h, order), b, more)


def to_torch(cell: Cell | Layer, params: Params, *, state_dict: bool = False) -> Any:
    """Convert a cell or layer and its params to a PyTorch module, or to its state_dict.

    Inverse of `from_torch`. PyTorch has two biases for one sum: bias_ih gets all of it, bias_hh is
    zero, but for the GRU's b_hn, which has its place there. What PyTorch trains afterwards moves
    both.

    Args:
      cell: a `vanilla` (tanh or relu), `lstm`, `lstm_projected` or `gru(reset="after")` cell, a
        `stack` of equal ones, or a `bidirectional` or `serial` of these. `input_dropout` around all
        cells of a stack but the first becomes the module's `dropout`.
      params: its params.
      state_dict: return a dict of NumPy arrays by PyTorch's names, for which torch is not needed.

    Returns:
      A `torch.nn.RNN`, `LSTM` or `GRU` that reads `[T, B, D]`, or the dict.

    Raises:
      ValueError: PyTorch has no place for the cell; the error says what would be lost.
      ImportError: torch is not installed, and a module is asked for.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> state = rnnjax.interop.to_torch(cell, params, state_dict=True)
      >>> {name: w.shape for name, w in state.items() if name.startswith("weight")}
      {'weight_ih_l0': (12, 3), 'weight_hh_l0': (12, 4)}
    """
    check_flag("state_dict", state_dict)
    network = to_network("to_torch", cell, params)
    check_holds("to_torch", "PyTorch", network)
    check_one_size("to_torch", "PyTorch", network)
    if any(len(layer) == 1 and layer[0].reverse for layer in network):
        raise ValueError(
            "to_torch: PyTorch has no module that runs backwards alone: the direction would be "
            "lost. Convert the cell by itself, and reverse the sequence in PyTorch"
        )
    _dropout(network)
    weights = _write(network)
    if state_dict:
        return weights
    return _module(network, weights)


def _dropout(network: Network) -> float:
    """The rate of dropout between layers, which is PyTorch's alone."""
    first, *others = [[gates.dropout for gates in layer] for layer in network]
    rates = {rate for layer in others for rate in layer}
    if any(first) or len(rates) > 1 or (any(rates) and len(network[0]) > 1):
        raise ValueError(
            "to_torch: PyTorch drops the outputs of each layer but the last at one rate, alike for "
            f"both directions, and input_dropout has the rates {[first, *others]}, layer by layer: "
            "it would be lost. Convert the cells inside, whose params are the same"
        )
    return rates.pop() if rates else 0.0


def _write(network: Network) -> dict[str, np.ndarray]:
    weights = {}
    for k, directions in enumerate(network):
        for gates in directions:
            order, end = GATES[gates.kind], f"_l{k}{'_reverse' * gates.reverse}"
            b_h = zeros_like(gates.b)
            if "b_hn" in gates.more:
                b_h["n"] = gates.more["b_hn"]
            written = {
                "weight_ih": join(gates.w_x, order).T,
                "weight_hh": join(gates.w_h, order).T,
                "bias_ih": join(gates.b, order),
                "bias_hh": join(b_h, order),
            }
            if "w_p" in gates.more:
                written["weight_hr"] = gates.more["w_p"].T
            weights |= {f"{name}{end}": np.ascontiguousarray(w) for name, w in written.items()}
    return weights


def _module(network: Network, weights: dict[str, np.ndarray]) -> Any:
    torch = peer("torch", ", or pass state_dict=True for a dict of NumPy arrays by its names")
    gates = network[0][0]
    name, option = name_and_option(gates.kind)
    options: dict[str, Any] = {"num_layers": len(network), "bidirectional": len(network[0]) == 2}
    options["dropout"] = _dropout(network)
    if name == "vanilla":
        options["nonlinearity"] = option
    if "w_p" in gates.more:
        options["proj_size"] = gates.more["w_p"].shape[1]
    kind = {"vanilla": torch.nn.RNN, "gru": torch.nn.GRU}.get(name, torch.nn.LSTM)
    state = {name: to_tensor(w) for name, w in weights.items()}
    dtype = state["weight_hh_l0"].dtype
    module = kind(input_size(gates), hidden_size(gates), dtype=dtype, **options)
    module.load_state_dict(state)
    return module
