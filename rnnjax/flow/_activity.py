"""How much of a cell is saturated: the shares of its gates and units at the flat ends of φ."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax._types import Array, Cell, known
from rnnjax.running import beside_features


class _Part(NamedTuple):
    """A gate of a cell, or its units."""

    name: str  # "" for units
    phi: str
    values: Callable[[Any], Array]  # tapes -> φ(z) [T, ..., H]


# φ' is below 0.36 of its maximum: σ beyond 0.1 and 0.9, and tanh z = 2 σ(2z) - 1 likewise.
_FLAT: dict[str, dict[str, Callable[[Array], Array]]] = {
    "sigmoid": {"closed": lambda a: a < 0.1, "open": lambda a: a > 0.9},
    "tanh": {"saturated": lambda a: jnp.abs(a) > 0.8},
    "relu": {"inactive": lambda a: a <= 0},
}
_CANDIDATES = ("g", "n")  # tanh; other gates are sigmoid
# The gates side by side in the tape, in the order of the weights, by the name of the cell's form.
_GATES = {
    **dict.fromkeys(("lstm", "peephole_lstm", "lstm_projected", "conv_lstm"), "ifgo"),
    **dict.fromkeys(("lstm_1997", "cifg"), "igo"),
    "gru": "rzn",
}


def parts(cell: Cell) -> tuple[_Part, ...]:
    """The gates of the cell in the order of its weights, or its units; empty if not known."""
    form: Any = known(cell).form
    name, *options = form if isinstance(form, tuple) else (form,)
    if cell.rule is None:
        return ()
    if name in _GATES:
        gates = _GATES[name]
        return tuple(_gate(gate, partial(_block, k, len(gates))) for k, gate in enumerate(gates))
    if name == "mgu":
        return _gate("f", lambda tapes: tapes.f), _gate("n", lambda tapes: tapes.n)
    if name == "min_gru":
        return (_gate("z", partial(_block, 0, 2)),)
    if name == "unicornn":
        return (_Part("", "tanh", lambda tapes: tapes.a),)
    if name in ("vanilla", "indrnn", "ctrnn"):
        phi = next((each for each in options if each in _FLAT), None)
        field = "activity" if name == "ctrnn" else "h"
        return () if phi is None else (_Part("", phi, lambda tapes: getattr(tapes, field)),)
    return ()


def shares(cell: Cell, tapes: Any, valid: Array) -> dict[str, Array]:
    """The shares that are saturated in valid steps `[T, ...]`, from the tapes of a cell's rule."""
    return {
        f"{word}_{part.name}".strip("_"): _share(flat, part.values(tapes), valid)
        for part in parts(cell)
        for word, flat in _FLAT[part.phi].items()
    }


def _gate(name: str, values: Callable[[Any], Array]) -> _Part:
    return _Part(name, "tanh" if name in _CANDIDATES else "sigmoid", values)


def _block(k: int, count: int, tapes: Any) -> Array:
    return jnp.split(tapes.gates, count, axis=-1)[k]


def _share(flat: Callable[[Array], Array], a: Array, valid: Array) -> Array:
    """The share of activations `[T, ..., H]` in valid steps `[T, ...]` that are flat; NaN if one is
    NaN."""
    valid = jnp.broadcast_to(beside_features(valid, a), a.shape)
    share = jnp.sum(flat(a) & valid) / jnp.maximum(jnp.sum(valid), 1)
    return jnp.where(jnp.any(jnp.isnan(a) & valid), jnp.nan, share)
