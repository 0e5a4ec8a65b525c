"""Named parts of params and carries: of a NamedTuple, a dict or a dataclass alike."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._types import PyTree


def fields_of(tree: PyTree) -> tuple[str, ...]:
    """The names of its parts; none of an array, a tuple or a list."""
    if hasattr(tree, "_fields"):
        return tuple(tree._fields)
    if isinstance(tree, dict):
        return tuple(key for key in tree if isinstance(key, str))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return tuple(field.name for field in dataclasses.fields(tree))
    return ()


def field(tree: PyTree, name: str) -> Any:
    """The part of that name."""
    return tree[name] if isinstance(tree, dict) else getattr(tree, name)


def with_fields(tree: PyTree, parts: dict[str, Any]) -> Any:
    """The tree with these in the place of its parts of the same names."""
    if not parts:
        return tree
    if isinstance(tree, dict):
        return type(tree)({**tree, **parts})
    if hasattr(tree, "_fields"):
        named: Any = tree
        return named._replace(**parts)
    return dataclasses.replace(tree, **parts)


def within_units(params: PyTree, names: Iterable[str]) -> Any:
    """Params whose weight matrices of these names, [H, G], join no two units."""

    def cut(w: Any) -> Any:
        units = w.shape[0]
        return w * jnp.tile(jnp.eye(units, dtype=w.dtype), (1, w.shape[1] // units))

    return with_fields(params, {name: cut(field(params, name)) for name in names})


def output_leaf(carry: PyTree, name: str) -> int:
    """The place of the carry's field y_t among its leaves, by `Structure.output`.

    Raises:
      ValueError: the carry has no field of that name that is one array.
    """
    leaves, tree = jax.tree.flatten(carry)
    places = jax.tree.unflatten(tree, range(len(leaves)))
    found = jax.tree.leaves(field(places, name)) if name in fields_of(places) else []
    if len(found) != 1:
        names = ", ".join(fields_of(carry)) or "none, as it has no names"
        raise ValueError(
            f"Structure(output={name!r}) says that y_t is this field of the carry, whose fields "
            f"are {names}: it must name one that is an array"
        )
    return found[0]
