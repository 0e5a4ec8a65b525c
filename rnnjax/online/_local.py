"""Influence within units: one number for each parameter and each state of the unit that it belongs
to. SnAp-1, RFLO and e-prop, which differ in what they keep of the recurrence."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import is_inexact
from rnnjax._dtypes import at_least_float32
from rnnjax._fields import field, with_fields, within_units
from rnnjax._leaves import inexact
from rnnjax._types import Array, Carry, Cell, Params, PyTree, known
from rnnjax.online._engine import Start
from rnnjax.online._rows import Theta, pull_back
from rnnjax.running import pack, unpack


def is_unitwise(cell: Cell) -> bool:
    """Whether the cell acts unit by unit, and has a rule that says how (`Structure.mixing`)."""
    return known(cell).mixing is not None and cell.rule is not None


class Block:
    """One step of a cell that acts unit by unit, by its rule: rows are leaves of H units each."""

    def __init__(self, cell: Cell, params: Params, carry: Carry, x_t: PyTree) -> None:
        rule: Any = cell.rule  # there is one, see `is_unitwise`
        self.params, self.x_t, self.rule = params, x_t, rule
        (self.carry, self.y_t), self.tape = rule.forward(params, carry, rule.project(params, x_t))
        own = [] if known(cell).output else inexact(self.y_t)
        self.rows = [*inexact(self.carry), *own]  # the leaves whose entries the rows are

    def backward(self, params: Params, ct: Array) -> tuple[list[Array], PyTree]:
        """One backward step from the rows [R]: to the leaves of the carry before, and to δ_t."""
        leaves = iter(unpack(ct, self.rows))
        old, structure = jax.tree.flatten(self.carry)
        carry_ct = [next(leaves) if is_inexact(x) else None for x in old]
        y_ct = next(leaves, jnp.zeros_like(self.y_t))
        before, delta = self.rule.backward(
            params, self.tape, jax.tree.unflatten(structure, carry_ct), y_ct, lambda d: d
        )
        return jax.tree.leaves(before), delta

    def state_ct(self, ct: Array) -> Array:
        """ct J [S]."""
        return pack(self.backward(self.params, ct)[0], 0)

    def params_ct(self, delta: PyTree) -> Params:
        one = jax.tree.map(lambda leaf: leaf[None], (self.x_t, self.tape, delta))
        return self.rule.gradients(self.params, *one)[0]

    def of_units(self, params: Params) -> tuple[list[Array], Params]:
        """One backward step from each leaf of rows, all its units at once.

        No parameter reaches the rows of two units in one step, so the sum over units that it gives
        is the derivative of the unit's own row.

        Returns:
          to the leaves of the carry before, [leaves of rows, H] each, which are derivatives within
          units where the recurrent weights in `params` join no two of them; and to the params,
          [leaves of rows, *shape of the leaf].
        """
        units = self.rows[0].shape[0]
        ones = jnp.repeat(
            jnp.eye(len(self.rows), dtype=at_least_float32(self.rows[0])), units, axis=1
        )

        def pull(ct: Array) -> tuple[list[Array], Params]:
            before, delta = self.backward(params, ct)
            return before, self.params_ct(delta)

        return jax.vmap(pull)(ones)


def own_unit(units: int, size: int, dtype: jnp.dtype) -> Array:
    """[H, G]: 1 where column g of a weight matrix belongs to unit u, else 0."""
    return jnp.tile(jnp.eye(units, dtype=dtype), (1, size // units))


def _of_own_unit(values: Array, like: Array) -> Array:
    """values [..., H] for each entry of a leaf [*shape, G]: [..., *ones, G], that of its unit."""
    row = jnp.tile(values.astype(like.dtype), like.shape[-1] // values.shape[-1])
    return row.reshape(*row.shape[:-1], *[1] * (like.ndim - 1), row.shape[-1])


class Influence(NamedTuple):
    matrix: Theta  # leaves [leaves of rows, *shape of the leaf of θ]
    filtered: Theta | None = None  # F_t = κ F_{t-1} + M_t, where there is a κ


@dataclass(frozen=True)
class Local:
    """M_t = K_t ⊙ M_{t-1} + I_t, K_t the derivatives of a unit's states by its states before.

    With `own_weights`, K_t counts the recurrent weights from each unit to itself. With `kappa`,
    what is read is M_t after a low-pass filter.
    """

    own_weights: bool
    kappa: float = 0.0

    def start(self, at: Start) -> Influence:
        count, size = at.num_rows()
        units = inexact(at.carry)[0].shape[0]
        s, pull = pull_back(at.origin, at.theta)
        ones = jnp.repeat(jnp.eye(count // units, size // units, dtype=s.dtype), units, axis=1)
        columns = jax.vmap(pull)(ones)
        matrix = jax.tree.map(lambda m: m.astype(at_least_float32(m)), columns)
        return Influence(matrix, jax.tree.map(jnp.zeros_like, matrix) if self.kappa else None)

    def advance(
        self, cell: Cell, params: Params, influence: Influence, carry: Carry, x_t: PyTree
    ) -> tuple[Carry, PyTree, Influence]:
        block = Block(cell, params, carry, x_t)
        within, direct = block.of_units(self.unmixed(cell, params))

        within = jnp.stack(within, 1)  # [leaves of rows, leaves of the carry, H]

        def one(m: Array, i: Array) -> Array:
            before = m[None, : within.shape[1]]
            return jnp.sum(_of_own_unit(within, m[0]) * before, 1) + i.astype(m.dtype)

        moved = jax.tree.map(one, influence.matrix.params, direct)
        matrix, filtered = influence.matrix._replace(params=moved), None
        if self.kappa:
            filtered = jax.tree.map(lambda f, m: self.kappa * f + m, influence.filtered, matrix)
        return block.carry, block.y_t, Influence(matrix, filtered)

    def unmixed(self, cell: Cell, params: Params) -> Params:
        """Params whose recurrent weights join no two units."""
        names = known(cell).mixing or ()
        if self.own_weights:
            return within_units(params, names)
        return with_fields(params, {name: jnp.zeros_like(field(params, name)) for name in names})

    def read(self, cell: Cell, influence: Influence, ct: Array) -> Theta:
        def one(m: Array) -> Array:
            return jnp.sum(_of_own_unit(ct.reshape(m.shape[0], -1), m[0]) * m, 0)

        return jax.tree.map(one, influence.filtered if self.kappa else influence.matrix)
