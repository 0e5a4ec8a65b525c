"""The state of any cell as one real vector: the differentiable leaves of its carry, in order.

A complex number is two entries: the real parts of a leaf, then its imaginary parts.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._checks import is_inexact
from rnnjax._dtypes import promoted
from rnnjax._types import Array, Carry, Cell, Params, PyTree


def leaf_indices(tree: PyTree, leaf: str | None) -> tuple[int, ...]:
    """Which of the tree's leaves are differentiable and, with a name, belong to such a field.

    A name is that of a field, such as "h", wherever in the tree it is, or says a place: "[0].h".

    Raises:
      TypeError: `leaf` is neither None nor a string.
      ValueError: no differentiable leaf, or none in a field of that name; the error lists them.
    """
    if leaf is not None and not isinstance(leaf, str):
        raise TypeError(f"leaf must be the name of a field of the carry or None, got {leaf!r}")
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    floats = {i: path for i, (path, value) in enumerate(flat) if is_inexact(value)}
    if not floats:
        raise ValueError("the carry has no real or complex leaf: no gradient flows through it")
    if leaf is None:
        return tuple(floats)
    chosen = tuple(i for i, path in floats.items() if _is_in(path, leaf))
    if not chosen:
        names = ", ".join(jax.tree_util.keystr(path) for path in floats.values())
        if not names:
            raise ValueError(
                f"the carry is one array without fields, got leaf={leaf!r}: leaf=None takes it"
            )
        raise ValueError(
            f"leaf must be the name of a field of the carry, got {leaf!r}: its differentiable "
            f"leaves are {names}. leaf=None takes all of them"
        )
    return chosen


def _is_in(path: tuple[Any, ...], leaf: str) -> bool:
    """Whether a tree path goes through the field of that name, or begins with that place."""
    places = (jax.tree_util.keystr(path[:k]) for k in range(1, len(path) + 1))
    return leaf in map(_entry_name, path) or leaf in places


def _entry_name(entry: Any) -> Any:
    """The field's or key's name in one entry of a tree path; None for a position."""
    return getattr(entry, "name", getattr(entry, "key", None))


def chosen_leaves(carry: Carry, indices: tuple[int, ...]) -> list[Array]:
    leaves = jax.tree.leaves(carry)
    return [leaves[i] for i in indices]


def accumulation_dtype(leaves: list[Array]) -> Any:
    """The real dtype to sum these leaves in: at least float32."""
    return promoted(jnp.float32, *(jnp.finfo(x.dtype).dtype for x in leaves))


def pack(leaves: list[Array], batch_ndim: int) -> Array:
    """The leaves' features side by side: `[..., S]`, real and in at least float32."""
    dtype = accumulation_dtype(leaves)
    flat: list[Array] = []
    for x in leaves:
        x = x.reshape((*x.shape[:batch_ndim], math.prod(x.shape[batch_ndim:])))
        flat.extend((x.real, x.imag) if jnp.iscomplexobj(x) else (x,))
    return jnp.concatenate([x.astype(dtype) for x in flat], axis=-1)


def unpack(vector: Array, like: list[Array]) -> list[Array]:
    """Inverse of `pack`: `vector [..., S]` as leaves of the shapes and dtypes of `like`."""
    parts, begin = [], 0

    def take(size: int) -> Array:
        nonlocal begin
        begin += size
        return vector[..., begin - size : begin]

    for x in like:
        size = math.prod(x.shape[vector.ndim - 1 :])
        part = take(size)
        if jnp.iscomplexobj(x):
            part = jax.lax.complex(part, take(size))
        parts.append(part.reshape(x.shape).astype(x.dtype))
    return parts


def push(
    cell: Cell,
    params: Params,
    carry: Carry,
    x_t: PyTree,
    vectors: Array,
    indices: tuple[int, ...],
) -> tuple[Carry, Array]:
    """carry_t, and J_t V for tangents `vectors [..., S, k]` of the chosen leaves of carry_{t-1}.

    The leaves not chosen are held; J_t = ∂s_t/∂s_{t-1} is the block of the chosen ones.
    """
    leaves, tree = jax.tree.flatten(carry)
    chosen = [leaves[i] for i in indices]

    def step(chosen: list[Array]) -> tuple[list[Array], Carry]:
        moved = list(leaves)
        for i, value in zip(indices, chosen, strict=True):
            moved[i] = value
        new, _ = cell.step(params, jax.tree.unflatten(tree, moved), x_t)
        return chosen_leaves(new, indices), new

    def one(vector: Array) -> tuple[Array, Carry]:
        tangents = unpack(vector, chosen)
        _, moved, new = jax.jvp(step, (chosen,), (tangents,), has_aux=True)
        return pack(moved, vectors.ndim - 2), new

    pushed, new = jax.vmap(one, in_axes=-1, out_axes=(-1, None))(vectors)
    return new, pushed
