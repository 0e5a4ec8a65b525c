"""Influence matrices in full: real-time recurrent learning."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._dtypes import at_least_float32
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.online._engine import Start
from rnnjax.online._local import Block, is_unitwise, own_unit
from rnnjax.online._rows import Linearised, Theta, linearised, pull_back, rows


class Influence(NamedTuple):
    matrix: Theta  # M_t = ∂(s_t, y_t)/∂θ, leaves [R, *shape of the leaf of θ]


@dataclass(frozen=True)
class Dense:
    """M_t = J_t M_{t-1} + I_t."""

    def start(self, at: Start) -> Influence:
        """M_0, where s_0 = origin(θ)."""
        count, size = at.num_rows()
        s, pull = pull_back(at.origin, at.theta)
        columns = jax.vmap(pull)(jnp.eye(size, dtype=s.dtype))
        return Influence(
            jax.tree.map(lambda m: _padded(m.astype(at_least_float32(m)), count), columns)
        )

    def advance(
        self, cell: Cell, params: Params, influence: Influence, carry: Carry, x_t: PyTree
    ) -> tuple[Carry, PyTree, Influence]:
        if is_unitwise(cell):
            new, y_t, jacobian, direct = _by_rule(cell, params, carry, x_t)
        else:
            new, y_t, jacobian, direct = _by_autodiff(linearised(cell, params, carry, x_t))
        moved = jax.tree.map(lambda m: _times(jacobian, m), influence.matrix)
        weights = jax.tree.map(lambda m, i: m + i.astype(m.dtype), moved.params, direct)
        return new, y_t, Influence(moved._replace(params=weights))

    def read(self, cell: Cell, influence: Influence, ct: Array) -> Theta:
        """ct M_t: the gradient of a cost whose cotangent at the rows is `ct` [R]."""
        return jax.tree.map(lambda m: jnp.tensordot(ct.astype(m.dtype), m, 1), influence.matrix)


def _by_autodiff(step: Linearised) -> tuple[Carry, PyTree, Array, PyTree]:
    eye = jnp.eye(step.rows.shape[0], dtype=step.rows.dtype)
    direct, jacobian = jax.vmap(step.pull_back)(eye)
    return step.carry, step.y_t, jacobian, direct


def _by_rule(
    cell: Cell, params: Params, carry: Carry, x_t: PyTree
) -> tuple[Carry, PyTree, Array, PyTree]:
    """The same, with one backward step for each row for J, and one for each leaf for I."""
    block = Block(cell, params, carry, x_t)
    out = rows(cell, block.carry, block.y_t)
    jacobian = jax.vmap(block.state_ct)(jnp.eye(out.shape[0], dtype=out.dtype))
    _, direct = block.of_units(params)
    return (
        block.carry,
        block.y_t,
        jacobian,
        jax.tree.map(lambda i: _in_own_rows(i, out.shape[0]), direct),
    )


def _in_own_rows(direct: Array, count: int) -> Array:
    """[leaves of rows, ..., G] -> [R, ..., G]: each entry in the row of the unit it belongs to."""
    leaves, *lead, size = direct.shape
    own = own_unit(count // leaves, size, direct.dtype).reshape(1, -1, *[1] * len(lead), size)
    return (direct[:, None] * own).reshape(count, *lead, size)


def _times(jacobian: Array, matrix: Array) -> Array:
    size = jacobian.shape[1]
    return jnp.tensordot(jacobian.astype(matrix.dtype), matrix[:size], 1)


def _padded(matrix: Array, count: int) -> Array:
    """Rows of zeros for y_0, of which there is none."""
    missing = jnp.zeros((count - matrix.shape[0], *matrix.shape[1:]), matrix.dtype)
    return jnp.concatenate([matrix, missing])
