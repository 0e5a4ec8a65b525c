"""An unbiased influence matrix that is a Kronecker product: KF-RTRL."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._dtypes import at_least_float32
from rnnjax._leaves import inexact
from rnnjax._random import next_keys
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.online._engine import Start
from rnnjax.online._local import Block, own_unit
from rnnjax.online._rank_one import balance, norm
from rnnjax.online._rows import Theta, rows


class Influence(NamedTuple):
    read: Params  # u_t, for each leaf [..., G] of params [...]
    errors: Array  # A_t [R, G]; E[u_t ⊗ A_t] = M_t
    key: Array


@dataclass(frozen=True)
class Kronecker:
    """u_t = c₁ p₁ u_{t-1} + c₂ p₂ â_t,  A_t = c₁ J_t A_{t-1} / p₁ + c₂ D_t / p₂.

    For z_t = [h_{t-1}; x_t; 1] W: â_t is what W multiplies, D_t = ∂(s_t, y_t)/∂z_t, so that
    I_t = â_t ⊗ D_t, and c₁, c₂ are random signs. p₁ and p₂ balance the norms.
    """

    def start(self, at: Start) -> Influence:
        count, _ = at.num_rows()
        leaves = inexact(at.params)
        dtype = at_least_float32(leaves[0])
        read = jax.tree.map(lambda w: jnp.zeros(w.shape[:-1], dtype), at.params)
        return Influence(read, jnp.zeros((count, leaves[0].shape[-1]), dtype), at.key)

    def advance(
        self, cell: Cell, params: Params, influence: Influence, carry: Carry, x_t: PyTree
    ) -> tuple[Carry, PyTree, Influence]:
        block = Block(cell, params, carry, x_t)
        out = rows(cell, block.carry, block.y_t)
        jacobian = jax.vmap(block.state_ct)(jnp.eye(out.shape[0], dtype=out.dtype))
        moved = jacobian @ influence.errors[: jacobian.shape[1]]
        read, direct = _factors(block, moved)
        later, now = next_keys(influence.key)
        c = jax.random.rademacher(now, (2,), moved.dtype)
        p_1 = balance(norm(moved), norm(influence.read))
        p_2 = balance(norm(direct), norm(read))
        kept = jax.tree.map(lambda u, a: c[0] * p_1 * u + c[1] * p_2 * a, influence.read, read)
        errors = c[0] * moved / p_1 + c[1] * direct / p_2
        return block.carry, block.y_t, Influence(kept, errors, later)

    def read(self, cell: Cell, influence: Influence, ct: Array) -> Theta:
        row = ct.astype(influence.errors.dtype) @ influence.errors

        def outer(u: Array) -> Array:
            return u[..., None] * row.reshape((1,) * u.ndim + row.shape)

        return Theta(jax.tree.map(outer, influence.read))


def _factors(block: Block, like: Array) -> tuple[Params, Array]:
    """â_t for each leaf of params, and D_t [R, G]."""
    count, size = like.shape
    ones = jnp.ones((count,), like.dtype)
    _, delta = block.backward(block.params, ones)
    read = block.params_ct(jax.tree.map(jnp.ones_like, delta))  # â_i δ_g with δ = 1
    _, direct = block.of_units(block.params)
    bias = next(
        i for i in jax.tree.leaves(direct) if i.ndim == 2
    )  # whose gradient is δ itself: [leaves of rows, G]
    own = own_unit(count // bias.shape[0], size, like.dtype)
    full = (bias.astype(like.dtype)[:, None] * own[None]).reshape(count, size)
    return jax.tree.map(lambda a: a[..., 0].astype(like.dtype), read), full
