"""Batch axes: merging several into one and back, and what `vmap` does to a call that has one.

Trees come with their axes: a tree prefix that says which axis of each array, or of every array in
a part of the tree, is the batch. An array without a batch axis is a weight.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._types import Array, PyTree
from rnnjax.methods._partitioning import along


def merge(axes: PyTree, tree: PyTree, count: int) -> PyTree:
    """Merge the `count` axes that begin at each array's batch axis into one."""

    def merged(axis: int, x: Array) -> Array:
        size = math.prod(x.shape[axis : axis + count])
        return x.reshape(*x.shape[:axis], size, *x.shape[axis + count :])

    return _map(merged, axes, tree)


def split(axes: PyTree, tree: PyTree, sizes: tuple[int, ...]) -> PyTree:
    """Inverse of `merge`: the batch axis becomes axes of these sizes."""

    def parted(axis: int, x: Array) -> Array:
        return x.reshape(*x.shape[:axis], *sizes, *x.shape[axis + 1 :])

    return _map(parted, axes, tree)


def folds(
    call: Callable[[Any, Any], Any], data_axes: PyTree, out_axes: PyTree
) -> Callable[[Any, Any], Any]:
    """`call(weights, data)` with a `vmap` rule: data is folded into the batch.

    The call must treat the examples of its batch independently. Mapped weights run one after the
    other. Where the batch or the mapped weights are divided among devices, each runs its own.
    """

    on_each_device = along(call, (None, data_axes), out_axes)

    @jax.custom_batching.custom_vmap
    def folded(weights: Any, data: Any) -> Any:
        return on_each_device(weights, data)

    @folded.def_vmap
    def rule(size: int, mapped: Any, weights: Any, data: Any) -> tuple[Any, Any]:
        if size == 0 or any(jax.tree.leaves(mapped[0])):
            out = _one_by_one(folded, mapped, (weights, data))
        else:
            data = jax.tree.map(partial(_broadcast, size), data, mapped[1])
            out = folded(weights, _fold(data_axes, data))
            out = _unfold(out_axes, out, size)
        return out, jax.tree.map(lambda _: True, out)

    return folded


def runs_one_by_one(call: Callable[..., Any]) -> Callable[..., Any]:
    """`call` with a `vmap` rule: one call after another, for calls that mix the examples."""
    return jax.custom_batching.sequential_vmap(call)


def replaced_by(portable: Callable[..., Any], call: Callable[..., Any]) -> Callable[..., Any]:
    """`call` with a `vmap` rule: the same result by `portable`, which XLA batches."""
    replaced = jax.custom_batching.custom_vmap(call)

    @replaced.def_vmap
    def rule(size: int, mapped: Any, *operands: Array) -> tuple[Any, Any]:
        del size
        out = jax.vmap(portable, [0 if m else None for m in mapped])(*operands)
        return out, jax.tree.map(lambda _: True, out)

    return replaced


def _map(f: Callable[[int, Array], Array], axes: PyTree, tree: PyTree) -> PyTree:
    return jax.tree.map(lambda axis, part: jax.tree.map(partial(f, axis), part), axes, tree)


def _broadcast(size: int, x: Array, mapped: bool) -> Array:
    return x if mapped else jnp.broadcast_to(x, (size, *x.shape))


def _fold(axes: PyTree, tree: PyTree) -> PyTree:
    """Merge axis 0, that of a `vmap`, into the batch."""
    return merge(axes, _map(lambda axis, x: jnp.moveaxis(x, 0, axis), axes, tree), 2)


def _unfold(axes: PyTree, tree: PyTree, size: int) -> PyTree:
    """Inverse of `_fold`."""

    def unfolded(axis: int, x: Array) -> Array:
        return jnp.moveaxis(split(axis, x, (size, x.shape[axis] // size)), axis, 0)

    return _map(unfolded, axes, tree)


def _one_by_one(call: Callable[..., Any], mapped: Any, operands: tuple[Any, ...]) -> Any:
    """A loop over axis 0 of the mapped operands; it may have no elements."""
    leaves, tree = jax.tree.flatten(operands)
    flags = jax.tree.leaves(mapped)

    def loop(*leaves: Array) -> Any:
        def one(elements: list[Array]) -> Any:
            each = iter(elements)
            given = [next(each) if m else x for m, x in zip(flags, leaves, strict=True)]
            return call(*jax.tree.unflatten(tree, given))

        return jax.lax.map(one, [x for m, x in zip(flags, leaves, strict=True) if m])

    on_each_device = along(loop, tuple(0 if m else None for m in flags), 0)
    return replaced_by(loop, on_each_device)(*leaves)
