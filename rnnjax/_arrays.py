"""Hashable values with arrays in them: what of a gradient may be traced goes beside the rest."""

from collections.abc import Hashable
from typing import Any, NamedTuple

import jax

from rnnjax._types import Array


class Static(NamedTuple):
    """A pytree without its arrays, in whose places is None."""

    tree: Hashable
    others: tuple[Any, ...]


def take_arrays(value: Any) -> tuple[Static, tuple[Array | None, ...]]:
    """`value` as its hashable part and its arrays, for `put_arrays`."""
    leaves, tree = jax.tree.flatten(value)
    arrays = tuple(leaf if isinstance(leaf, jax.Array) else None for leaf in leaves)
    others = tuple(None if isinstance(leaf, jax.Array) else leaf for leaf in leaves)
    return Static(tree, others), arrays


def put_arrays(static: Static, arrays: tuple[Array | None, ...]) -> Any:
    """Inverse of `take_arrays`."""
    leaves = [b if a is None else a for a, b in zip(arrays, static.others, strict=True)]
    return jax.tree.unflatten(static.tree, leaves)
