"""Cotangents of trees with leaves that have none, such as PRNG keys: None stands for those."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._checks import is_inexact
from rnnjax._leaves import differentiable, inexact
from rnnjax._types import Array, PyTree


def vjp(function: Callable[..., Any], *at: Any) -> tuple[Any, Callable[[Any], Any]]:
    """As `jax.vjp`; in the cotangents that it takes, None may stand for zeros as well."""
    leaves, tree = jax.tree.flatten(at)
    moving = [i for i, leaf in enumerate(leaves) if is_inexact(leaf)]

    def moved(given: list[Array]) -> tuple[list[Array], Any]:
        at = [*leaves]
        for i, leaf in zip(moving, given, strict=True):
            at[i] = leaf
        out = function(*jax.tree.unflatten(tree, at))
        return inexact(out), out

    _, pull, out = jax.vjp(moved, [leaves[i] for i in moving], has_aux=True)

    def pull_back(cotangents: Any) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, differentiable(out))
        (found,) = pull(jax.tree.leaves(or_zeros(cotangents, zeros)))
        given = dict(zip(moving, found, strict=True))
        return jax.tree.unflatten(tree, [given.get(i) for i in range(len(leaves))])

    return out, pull_back


def or_zeros(cotangents: PyTree, zeros: PyTree) -> PyTree:
    """The cotangents, with these zeros in the place of None."""

    def is_none(x: Any) -> bool:
        return x is None

    return jax.tree.map(lambda ct, z: z if ct is None else ct, cotangents, zeros, is_leaf=is_none)


def in_dtype_of(tree: PyTree, cotangents: PyTree) -> PyTree:
    return jax.tree.map(lambda ct, leaf: ct.astype(leaf.dtype), cotangents, differentiable(tree))
