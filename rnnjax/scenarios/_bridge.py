"""From a summary of the source to a decoder's initial carry."""

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, Params, initial_carry as start
from rnnjax.scenarios._carries import filled, float_leaves, leaves_by_path, plain_form
from rnnjax.scenarios._modules import dense


def init_bridge(cell: Cell, params: Params, key: Array, summary: Array) -> dict[str, Params]:
    """One dense map for each floating-point leaf of the carry, by its path."""
    leaves = float_leaves(plain_form(cell, params, (1,)))
    keys = jax.random.split(key, max(len(leaves), 1))
    return {
        path: dense(leaf.size).init(leaf_key, summary)
        for (path, leaf), leaf_key in zip(leaves.items(), keys, strict=False)
    }


def bridge(
    cell: Cell, params: Params, maps: dict[str, Params], summary: Array, key: Array | None
) -> Carry:
    """The cell's initial carry for a summary [B, F]: s_0 = tanh(summary W + b), leaf by leaf."""
    carry = start(cell, params, summary.shape[:1], key)
    leaves = leaves_by_path(carry)
    for path, weights in maps.items():
        leaf = leaves[path]
        size = leaf.size // max(leaf.shape[0], 1)
        state = jnp.tanh(dense(size).apply(weights, summary))
        leaves[path] = state.reshape(leaf.shape).astype(leaf.dtype)
    return filled(carry, leaves)
