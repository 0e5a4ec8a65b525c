"""Haiku's recurrent cores, by their parameters: a dict of modules, each a dict of arrays."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from rnnjax._checks import described
from rnnjax._types import Cell, Params
from rnnjax.interop._arrays import to_numpy
from rnnjax.interop._canonical import Gates, Kind, join, split_all, to_model, to_network
from rnnjax.interop._modules import add_to_gate, check_size
from rnnjax.interop._table import check_holds, check_one_direction

_NAMES: dict[Kind, str] = {
    ("vanilla", "relu"): "vanilla_rnn",
    "lstm": "lstm",
    ("gru", "before"): "gru",
    "conv_lstm": "conv2_dlstm",
}
_LSTM, _GRU = "igfo", "zrn"
_IS_CORE = re.compile(r"(?:^|/)(vanilla_rnn|lstm|gru|conv2_dlstm)(_\d+)?$")


def from_haiku(
    params: Mapping[str, Mapping[str, Any]],
    name: str | Sequence[str] | None = None,
    *,
    size: tuple[int, int] | None = None,
) -> tuple[Cell, Params]:
    """Convert Haiku's VanillaRNN, LSTM, GRU or Conv2DLSTM to a cell and its params.

        core(x, state)   becomes   cell.step(params, carry, x)

    Haiku's LSTM adds 1 to its forget gate in the forward pass; here that is part of the bias. Its
    GRU resets before the recurrent product and has z near 1 renew the state: a `gru` with
    reset="before" and the weights of z negated, which is exact. Its VanillaRNN is a ReLU cell, of
    whose two biases b is the sum.

    Args:
      params: what `transformed.init` returned.
      name: the module, such as "lstm" or "encoder/~/gru"; several names are layers, the first
        nearest to the input. It can be left out where one module has one of Haiku's own names.
      size: (height, width) of the images of a Conv2DLSTM.

    Returns:
      `(cell, params)`: a `vanilla` (ReLU), `lstm`, `gru` or `conv_lstm` cell, or a `stack`.

    Raises:
      TypeError: params that are no dict of dicts.
      ValueError: no module of this name, or several without a name.

    Example:
      >>> import numpy as np, rnnjax
      >>> params = {"lstm/linear": {"w": np.ones((3 + 4, 16)), "b": np.zeros(16)}}
      >>> cell, params = rnnjax.interop.from_haiku(
      ...     {k: {n: w.astype(np.float32) for n, w in p.items()} for k, p in params.items()}
      ... )
      >>> cell, float(params.b[4])  # the 1 that Haiku adds to f
      (lstm(4, dtype='float32'), 1.0)

    References:
      https://dm-haiku.readthedocs.io/en/latest/api.html#recurrent
    """
    if not isinstance(params, Mapping) or not all(isinstance(p, Mapping) for p in params.values()):
        raise TypeError(
            "params must be the dict of dicts that hk.transform(...).init returned, got "
            f"{described(params)}"
        )
    names = [_only(params)] if name is None else _listed(name)
    return to_model([(_read(params, n, size),) for n in names])


def _listed(name: Any) -> list[str]:
    names = [name] if isinstance(name, str) else name
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
        raise TypeError(f"name must be a str or several, such as 'lstm', got {described(name)}")
    return list(names)


def _only(params: Mapping[str, Any]) -> str:
    # "net/~/lstm/linear" is a part of the core "net/~/lstm"; a GRU has no parts.
    names = {key: key.rsplit("/", 1)[0] for key in params}
    found = {n for pair in names.items() for n in pair if _IS_CORE.search(n)}
    if len(found) != 1:
        listed = ", ".join(repr(n) for n in sorted(found or params))
        raise ValueError(
            f"pass name= to say which module, or several layer by layer, got params of {listed}"
        )
    return found.pop()


def _read(params: Mapping[str, Any], name: str, size: Any) -> Gates:
    prefix = f"{name}/"
    parts = {k.removeprefix(prefix): p for k, p in params.items() if k.startswith(prefix)}
    core = params.get(name, {})
    kinds: dict[frozenset[str], Kind] = {
        frozenset({"linear", "linear_1"}): ("vanilla", "relu"),
        frozenset({"linear"}): "lstm",
        frozenset({"input_to_hidden", "hidden_to_hidden"}): "conv_lstm",
        frozenset({"w_i", "w_h", "b"}): ("gru", "before"),
    }
    kind = kinds.get(frozenset(parts or core))
    if kind is None:
        raise ValueError(
            f"name={name!r} must be a VanillaRNN, LSTM, GRU or Conv2DLSTM among "
            f"{', '.join(map(repr, params))}"
        )
    size = check_size(kind, size)

    def get(part: str, leaf: str) -> np.ndarray:
        return to_numpy(f"{prefix}{part}.{leaf}", (parts[part] if part else core)[leaf])

    if kind == "lstm":
        w, b = get("linear", "w"), get("linear", "b")
        hidden = w.shape[1] // 4
        return add_to_gate(split_all(kind, _LSTM, (w[:-hidden], w[-hidden:], b)), "f", 1)
    if kind == "conv_lstm":
        w_x, w_h = get("input_to_hidden", "w"), get("hidden_to_hidden", "w")
        b = get("input_to_hidden", "b") + get("hidden_to_hidden", "b")
        return add_to_gate(split_all(kind, _LSTM, (w_x, w_h, b), size=size), "f", 1)
    if kind == ("gru", "before"):
        return _opposite(split_all(kind, _GRU, [get("", n) for n in ("w_i", "w_h", "b")]))
    b = get("linear", "b")
    if "b" in parts["linear_1"]:
        b = b + get("linear_1", "b")
    return Gates(kind, {"h": get("linear", "w")}, {"h": get("linear_1", "w")}, {"h": b})


def _opposite(gates: Gates) -> Gates:
    """z where 1 - z was: σ(-a) = 1 - σ(a)."""
    w_x, w_h, b = (block | {"z": -block["z"]} for block in (gates.w_x, gates.w_h, gates.b))
    return gates._replace(w_x=w_x, w_h=w_h, b=b)


def to_haiku(
    cell: Cell, params: Params, name: str | Sequence[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Convert a cell and its params to the parameters of Haiku modules. Inverse of `from_haiku`.

    The VanillaRNN's first bias gets all of b, the second is zero. The 1 that Haiku adds to the
    forget gate is subtracted from its bias, which rounds biases near zero to the precision of 1.

    Args:
      cell: a `vanilla` (ReLU), `lstm`, `gru(reset="before")` or `conv_lstm` cell, or a `stack`.
      params: its params.
      name: the module's name, or one a layer; Haiku's own ("lstm", "lstm_1", …) if None.

    Returns:
      The dict of dicts that `transformed.apply` takes.

    Raises:
      ValueError: Haiku has no place for the cell; the error says what would be lost.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.gru(4, reset="before")
      >>> params = rnnjax.interop.to_haiku(cell, cell.init(jax.random.key(0), 3))
      >>> {leaf: w.shape for leaf, w in params["gru"].items()}
      {'w_i': (3, 12), 'w_h': (4, 12), 'b': (12,)}
    """
    network = to_network("to_haiku", cell, params)
    check_holds("to_haiku", "Haiku", network)
    layers = check_one_direction("to_haiku", "Haiku", network)
    names = _own_names(layers) if name is None else _listed(name)
    if len(names) != len(layers):
        raise ValueError(
            f"name must be one str for each of the {len(layers)} layers, got {described(name)}"
        )
    written: dict[str, dict[str, Any]] = {}
    for at, gates in zip(names, layers, strict=True):
        for part, leaves in _write(gates).items():
            written[f"{at}/{part}" if part else at] = {n: jnp.array(w) for n, w in leaves.items()}
    return written


def _own_names(layers: list[Gates]) -> list[str]:
    names = [_NAMES[gates.kind] for gates in layers]
    counts = [names[:k].count(name) for k, name in enumerate(names)]
    return [name + (f"_{n}" if n else "") for name, n in zip(names, counts, strict=True)]


def _write(gates: Gates) -> dict[str, dict[str, np.ndarray]]:
    if gates.kind == ("vanilla", "relu"):
        w_x, w_h, b = gates.w_x["h"], gates.w_h["h"], gates.b["h"]
        return {"linear": {"w": w_x, "b": b}, "linear_1": {"w": w_h, "b": np.zeros_like(b)}}
    if gates.kind == ("gru", "before"):
        blocks = _opposite(gates)[1:4]
        return {"": dict(zip(("w_i", "w_h", "b"), (join(w, _GRU) for w in blocks), strict=True))}
    w_x, w_h, b = (join(block, _LSTM) for block in add_to_gate(gates, "f", -1)[1:4])
    if gates.kind == "lstm":
        return {"linear": {"w": np.concatenate([w_x, w_h]), "b": b}}
    return {
        "input_to_hidden": {"w": w_x, "b": b},
        "hidden_to_hidden": {"w": w_h, "b": np.zeros_like(b)},
    }
