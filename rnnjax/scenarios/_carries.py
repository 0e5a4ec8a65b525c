"""A cell's carry: its state alone, with the randomness of training, or made from a summary."""

import math

import jax
import jax.numpy as jnp

from rnnjax._checks import is_inexact
from rnnjax._types import Array, Carry, Cell, Params, PyTree, initial_carry
from rnnjax.running import unpack
from rnnjax.scenarios._modules import dense


def leaves_by_path(tree: PyTree) -> dict[str, Array]:
    """The leaves of a pytree by their path, such as `.h` or `[0].c`."""
    return {jax.tree_util.keystr(p): v for p, v in jax.tree_util.tree_flatten_with_path(tree)[0]}


def plain_form(cell: Cell, params: Params, batch_shape: tuple[int, ...]) -> PyTree:
    """Shapes and dtypes of the carry in its evaluation form, which is the state alone."""
    return jax.eval_shape(lambda params: initial_carry(cell, params, batch_shape, None), params)


def state_of(cell: Cell, params: Params, carry: Carry, batch_shape: tuple[int, ...]) -> Carry:
    """The evaluation form of a carry: its state, without masks and keys."""
    plain = plain_form(cell, params, batch_shape)
    if jax.tree.structure(plain) == jax.tree.structure(carry):
        return carry
    return filled(plain, leaves_by_path(carry))


def drawn(
    cell: Cell, params: Params, state: Carry, batch_shape: tuple[int, ...], key: Array | None
) -> Carry:
    """The carry with this state, and with randomness drawn from the key (without one, none)."""
    if key is None:
        return state_of(cell, params, state, batch_shape)
    plain = leaves_by_path(plain_form(cell, params, batch_shape))
    given = {path: leaf for path, leaf in leaves_by_path(state).items() if path in plain}
    missing = plain.keys() - given.keys()
    if missing:
        raise ValueError(
            f"carry does not have {', '.join(sorted(missing))}: expected the structure of "
            f"initial_carry(params, {batch_shape})"
        )
    fresh = initial_carry(cell, params, batch_shape, key)
    return filled(fresh, {**leaves_by_path(fresh), **given})


def filled(like: PyTree, leaves: dict[str, Array]) -> PyTree:
    """A pytree of the structure of `like` with these leaves, by path."""
    paths = leaves_by_path(like)
    missing = paths.keys() - leaves.keys()
    if missing:
        raise ValueError(f"carry does not have {', '.join(sorted(missing))}, which the cell reads")
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[path] for path in paths])


def differentiable_leaves(tree: PyTree) -> dict[str, Array]:
    """The real and complex leaves of a pytree by their path."""
    return {path: leaf for path, leaf in leaves_by_path(tree).items() if is_inexact(leaf)}


def init_bridge(cell: Cell, params: Params, key: Array, summary: Array) -> dict[str, Params]:
    """One dense map from the summary to each real or complex leaf of the carry, by its path."""
    leaves = differentiable_leaves(plain_form(cell, params, (1,)))
    keys = jax.random.split(key, max(len(leaves), 1))
    return {
        path: dense(_real_size(leaf), summary).init(leaf_key, summary)
        for (path, leaf), leaf_key in zip(leaves.items(), keys, strict=False)
    }


def bridge(
    cell: Cell, params: Params, maps: dict[str, Params], summary: Array, key: Array | None
) -> Carry:
    """An initial carry computed from a summary [B, F]: s_0 = tanh(summary W + b), leaf by leaf."""
    carry = initial_carry(cell, params, summary.shape[:1], key)
    leaves = leaves_by_path(carry)
    for path, weights in maps.items():
        leaf = leaves[path]
        state = jnp.tanh(dense(_real_size(leaf), summary).apply(weights, summary))
        (leaves[path],) = unpack(state, [leaf])
    return filled(carry, leaves)


def _real_size(leaf: Array) -> int:
    """How many real numbers one example has in a leaf [B, ...]; a complex number counts as two."""
    return math.prod(leaf.shape[1:]) * (2 if jnp.issubdtype(leaf.dtype, jnp.complexfloating) else 1)
