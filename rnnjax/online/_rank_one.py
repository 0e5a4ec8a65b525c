"""An unbiased influence matrix of rank one: UORO."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._dtypes import at_least_float32, promoted
from rnnjax._random import next_keys
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.online._engine import Start
from rnnjax.online._rows import Theta, linearised, pull_back


class Influence(NamedTuple):
    rows: Array  # s̃_t [R]
    columns: Theta  # θ̃_t, as θ; E[s̃_t θ̃_tᵀ] = M_t
    key: Array


@dataclass(frozen=True)
class RankOne:
    """s̃_t = ρ₀ J_t s̃_{t-1} + ρ₁ ν_t,  θ̃_t = θ̃_{t-1} / ρ₀ + ν_tᵀ I_t / ρ₁,  ν_t random signs.

    E[ν νᵀ] = 1 makes s̃ θ̃ᵀ unbiased whatever ρ₀ and ρ₁, as long as they do not depend on the sign
    of ν_t; these two balance the norms of the two terms, which minimises the variance.
    """

    def start(self, at: Start) -> Influence:
        count, _ = at.num_rows()
        later, now = next_keys(at.key)
        s, pull = pull_back(at.origin, at.theta)
        noise = _signs(now, s.shape[0], s.dtype)
        columns = jax.tree.map(lambda m: m.astype(at_least_float32(m)), pull(noise))
        return Influence(jnp.pad(noise, (0, count - s.shape[0])), columns, later)

    def advance(
        self, cell: Cell, params: Params, influence: Influence, carry: Carry, x_t: PyTree
    ) -> tuple[Carry, PyTree, Influence]:
        step = linearised(cell, params, carry, x_t)
        later, now = next_keys(influence.key)
        noise = _signs(now, step.rows.shape[0], step.rows.dtype)
        moved, (direct, _) = step.push(influence.rows), step.pull_back(noise)
        old = influence.columns
        rho_0 = balance(norm(old), norm(moved)).astype(moved.dtype)
        rho_1 = balance(norm(direct), norm(noise)).astype(moved.dtype)
        columns = jax.tree.map(lambda m: m / rho_0.astype(m.real.dtype), old)

        def add(m: Array, i: Array) -> Array:
            return m + i.astype(m.dtype) / rho_1.astype(m.real.dtype)

        weights = jax.tree.map(add, columns.params, direct)
        rows = rho_0 * moved + rho_1 * noise
        return step.carry, step.y_t, Influence(rows, columns._replace(params=weights), later)

    def read(self, cell: Cell, influence: Influence, ct: Array) -> Theta:
        along = jnp.vdot(ct, influence.rows)
        return jax.tree.map(lambda m: along.astype(m.real.dtype) * m, influence.columns)


def _signs(key: Array, size: int, dtype: jnp.dtype) -> Array:
    return jax.random.rademacher(key, (size,), dtype)


def norm(tree: PyTree) -> Array:
    """The Euclidean norm of all leaves together."""
    parts = [
        jnp.sum(jnp.square(jnp.abs(x).astype(at_least_float32(x.real))))
        for x in jax.tree.leaves(tree)
    ]
    widest = promoted(*parts)
    return jnp.sqrt(sum((part.astype(widest) for part in parts), start=jnp.zeros((), widest)))


def balance(a: Array, b: Array) -> Array:
    """√(a / b), and finite and positive where they are zero."""
    return jnp.sqrt((a + _TINY) / (b + _TINY))


_TINY = 1e-7
