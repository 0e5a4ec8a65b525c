"""The leaves of a tree that may be differentiated: real and complex ones, not integers or keys."""

import jax

from rnnjax._checks import is_inexact
from rnnjax._types import Array, PyTree


def inexact(tree: PyTree) -> list[Array]:
    """The leaves that may be differentiated."""
    return [leaf for leaf in jax.tree.leaves(tree) if is_inexact(leaf)]


def differentiable(tree: PyTree) -> PyTree:
    """The tree of the leaves that may be differentiated, None in the place of others."""
    return jax.tree.map(lambda leaf: leaf if is_inexact(leaf) else None, tree)
