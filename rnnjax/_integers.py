"""Cells that count: the integers of a carry, where a measure turns `jax_enable_x64` on."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Array, Carry, Cell, Params, PyTree, Structure, initial_carry, known


def of_own_width(cell: Cell, params: Params, wide: bool) -> Cell:
    """`cell`, whose carry keeps the integers that it has where `jax_enable_x64` is off.

    A step and an initial carry that name no dtype, as `jnp.zeros(shape, int)` does, make others in
    a measure that is taken in float64, so that they fit neither each other nor a carry of before.

    Args:
      cell: any `Cell`; most have no integers, or a rule, and are returned as they are.
      params: its weights.
      wide: whether 64 bits are on where it is called by the user, who then has these integers.
    """
    if wide or cell.rule is not None:
        return cell
    form = jax.eval_shape(lambda params: initial_carry(cell, params, (1,)), params)
    return _narrow(cell) if any(map(_is_integer, jax.tree.leaves(form))) else cell


@functools.lru_cache(256)  # a cell is a static argument of `jax.jit`
def _narrow(cell: Cell) -> Cell:
    def start(params: Params, batch_shape: tuple[int, ...], key: Array | None = None) -> Carry:
        return jax.tree.map(_narrowed, initial_carry(cell, params, batch_shape, key))

    def step(params: Params, carry: Carry, x_t: PyTree) -> tuple[Carry, PyTree]:
        new, y_t = cell.step(params, carry, x_t)
        return jax.tree.map(_narrowed, new), y_t

    structure = known(cell)
    layers = tuple(x if x.rule is not None else _narrow(x) for x in structure.layers)
    kept = Structure(layers=layers, feature_axes=structure.feature_axes, output=structure.output)
    return Cell(cell.init, start, step, None, kept)


def _narrowed(leaf: Any) -> Any:
    if not _is_integer(leaf):
        return leaf
    return jnp.asarray(leaf, np.dtype(f"{leaf.dtype.kind}{min(leaf.dtype.itemsize, 4)}"))


def _is_integer(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.integer)
