"""Hashable values with arrays in them: what of a gradient may be traced goes beside the rest."""

import dataclasses
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.tree_util import Partial

from rnnjax._readings import reading
from rnnjax._types import Array


class Static(NamedTuple):
    """A pytree without its arrays, in whose places is None."""

    tree: Hashable
    others: tuple[Any, ...]


def register_value(cls: type, data: tuple[str, ...]) -> None:
    """Make a frozen dataclass a pytree whose children are the fields in `data`.

    Not by `jax.tree_util.register_dataclass`: JAX 0.10 to 0.12 take the structures of two classes
    that are registered so for equal where their other fields are, and run one's program for the
    other.
    """
    others = [f.name for f in dataclasses.fields(cls) if f.init and f.name not in data]

    def flatten(value: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple(getattr(value, f) for f in data), tuple(getattr(value, f) for f in others)

    def unflatten(aux: tuple[Any, ...], children: tuple[Any, ...]) -> Any:
        return cls(**dict(zip((*others, *data), (*aux, *children), strict=True)))

    jax.tree_util.register_pytree_node(cls, flatten, unflatten)


def take_arrays(value: Any) -> tuple[Static, tuple[Array | None, ...]]:
    """`value` as its hashable part and its arrays, for `put_arrays`."""
    leaves, tree = jax.tree.flatten(value)
    arrays = tuple(leaf if isinstance(leaf, jax.Array) else None for leaf in leaves)
    others = tuple(None if isinstance(leaf, jax.Array) else leaf for leaf in leaves)
    return Static(tree, others), arrays


def with_hash(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, for `take_arrays`, such that a program that it is compiled into is run again as
    long as it reads the same.

    A function equals itself while the names in it, and in functions of its own file that it calls,
    mean the same values. One that reads what may be changed in place, such as an attribute of an
    object or an entry of a dict, is another one at every call, so that nothing is kept of it.
    """
    if isinstance(function, Partial) and all(
        isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(function)
    ):
        return Partial(with_hash(function.func), *function.args, **function.keywords)
    return reading(function) or partial(function)


def put_arrays(static: Static, arrays: tuple[Array | None, ...]) -> Any:
    """Inverse of `take_arrays`."""
    leaves = [b if a is None else a for a, b in zip(arrays, static.others, strict=True)]
    return jax.tree.unflatten(static.tree, leaves)
