"""A cell whose output at every step is its carry beside its own output."""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._types import Carry, Cell, Clip, Params, PyTree, Rule, Structure, Tape, known
from rnnjax.running._flagged import RestartCarry, final_carry


def revealing(cell: Cell) -> Cell:
    """A cell with outputs `(carry_t, y_t)`, from one that `prepare` has made."""

    def step(params: Params, carry: Carry, x_t: PyTree) -> tuple[Carry, tuple[Carry, PyTree]]:
        new, y_t = cell.step(params, carry, x_t)
        return new, (final_carry(new), y_t)

    rule = None if cell.rule is None else _revealing_rule(cell.rule)
    structure = Structure(inverse=known(cell).inverse)
    return Cell(cell.init, cell.initial_carry, step, rule, structure)


def _revealing_rule(inner: Rule) -> Rule:
    def forward(params: Params, carry: Carry, z_t: PyTree) -> tuple[tuple[Carry, Any], Tape]:
        (new, y_t), tape_t = inner.forward(params, carry, z_t)
        return (new, (final_carry(new), y_t)), tape_t

    def backward(params: Params, tape_t: Tape, carry_ct: Carry, y_ct: Any, clip: Clip):
        # The carry was read twice: by step t + 1, and as an output.
        shown_ct, y_ct = y_ct
        total = jax.tree.map(jnp.add, final_carry(carry_ct), shown_ct)
        if isinstance(carry_ct, RestartCarry):
            total = carry_ct._replace(current=total)
        return inner.backward(params, tape_t, total, y_ct, clip)

    return Rule(inner.project, forward, backward, inner.gradients)
