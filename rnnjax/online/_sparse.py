"""Influence matrices that hold the entries within n steps and no others: SnAp-n."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Var

from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.online._engine import Start
from rnnjax.online._patterns import Asked, Blocks, Leaf, asked, layout
from rnnjax.online._rows import Linearised, Theta, linearised, pull_back


@dataclass(frozen=True)
class Influence:
    """M_t as the blocks [G, K, Q] of its layout, for each differentiable leaf of params."""

    leaves: tuple[tuple[Array, ...], ...]
    of: Asked


jax.tree_util.register_dataclass(Influence, ["leaves"], ["of"])


@dataclass(frozen=True)
class Sparse:
    """M_t = J_t M_{t-1} + I_t at the entries of units that params reach within n steps.

    Params that reach the same rows are one dense block of M, moved by J among these rows.
    """

    n: int

    def start(self, at: Start) -> Influence:
        of = asked(at.cell, at.params, at.carry, at.x_t, self.n)
        leaves = layout(of).leaves
        if not _depends(at.origin, at.theta):
            zeros = [
                tuple(jnp.zeros(part.direct.shape, leaf.dtype) for part in leaf.blocks)
                for leaf in leaves
            ]
            return Influence(tuple(zeros), of)
        s, pull = pull_back(at.origin, at.theta)
        columns = jax.vmap(pull)(jnp.eye(s.shape[0], dtype=s.dtype)).params
        each = np.minimum(np.arange(at.num_rows()[0]), s.shape[0])  # there is no y_0

        def one(leaf: Leaf, m: Array) -> tuple[Array, ...]:
            m = m.astype(leaf.dtype)
            return tuple(_entries(m, each, part.rows, part.columns) for part in leaf.blocks)

        return Influence(tuple(map(one, leaves, jax.tree.leaves(columns))), of)

    def advance(
        self, cell: Cell, params: Params, influence: Influence, carry: Carry, x_t: PyTree
    ) -> tuple[Carry, PyTree, Influence]:
        found = layout(influence.of)
        step = linearised(cell, params, carry, x_t)
        _, jacobian = _backwards(step, found.jacobian_colors)
        jacobian = jnp.pad(jacobian, ((0, 0), (0, step.rows.shape[0] - jacobian.shape[1])))
        direct, _ = _backwards(step, found.direct_colors)

        def moved(part: Blocks, i: Array, m: Array) -> Array:
            j = _entries(jacobian, found.jacobian_colors, part.rows, part.rows)
            i = _entries(i, found.direct_colors, part.rows, part.columns)
            j, i = jnp.where(part.jacobian, j, 0), jnp.where(part.direct, i, 0)
            return jnp.einsum("gkl,glq->gkq", j.astype(m.dtype), m) + i.astype(m.dtype)

        def one(leaf: Leaf, i: Array, blocks: tuple[Array, ...]) -> tuple[Array, ...]:
            return tuple(moved(p, i, m) for p, m in zip(leaf.blocks, blocks, strict=True))

        leaves = map(one, found.leaves, jax.tree.leaves(direct), influence.leaves)
        return step.carry, step.y_t, Influence(tuple(leaves), influence.of)

    def read(self, cell: Cell, influence: Influence, ct: Array) -> Theta:
        found, ct = layout(influence.of), jnp.pad(ct, (0, 1))

        def one(leaf: Leaf, blocks: tuple[Array, ...]) -> Array:
            columns = [
                jnp.einsum("gk,gkq->gq", ct[part.rows].astype(m.dtype), m).reshape(-1)
                for part, m in zip(leaf.blocks, blocks, strict=True)
            ]
            return jnp.concatenate([*columns, jnp.zeros(1, leaf.dtype)])[leaf.place]

        leaves = map(one, found.leaves, influence.leaves)
        return Theta(jax.tree.unflatten(found.structure, leaves))


def _backwards(step: Linearised, colors: np.ndarray) -> tuple[PyTree, Array]:
    """One backward step for each colour, from the sum of its rows."""
    sums = colors == np.arange(1 + colors.max(initial=0))[:, None]
    return jax.vmap(step.pull_back)(jnp.asarray(sums, step.rows.dtype))


def _entries(found: Array, where: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Array:
    """[G, K, Q] of found [C, ...], whose row where[r] has row r; 0 for rows and columns beyond."""
    count = len(found)
    flat = jnp.pad(found.reshape(count, -1), ((0, 1), (0, 1)))
    return flat[np.append(where, count)[rows][:, :, None], columns[:, None, :]]


def _depends(function: Callable[[Theta], Array], theta: Theta) -> bool:
    """Whether what a function returns is made of what it is given."""
    jaxpr = jax.make_jaxpr(function)(theta).jaxpr
    made = set(jaxpr.invars)
    for equation in jaxpr.eqns:
        if made.intersection(v for v in equation.invars if isinstance(v, Var)):
            made.update(equation.outvars)
    return any(isinstance(v, Var) and v in made for v in jaxpr.outvars)
