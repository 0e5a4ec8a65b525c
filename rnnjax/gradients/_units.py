"""Whether a cell acts unit by unit, as its `Structure.mixing` says."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import is_inexact
from rnnjax._fields import field, fields_of, within_units
from rnnjax._leaves import differentiable, inexact
from rnnjax._types import Array, Carry, Cell, Params, PyTree, known
from rnnjax.gradients._values import quick_jit

_CLAIM = "Structure.mixing says that the cell acts unit by unit"


def mixing_problems(
    cell: Cell, params: Params, carry: Carry, x_t: PyTree, cts: Any, tolerance: float
) -> tuple[str, ...]:
    """What speaks against `Structure.mixing`, at a carry and an input without batch axes.

    `cts` are the cotangents of the step's carry and output; None for leaves without a gradient.
    """
    mixing = known(cell).mixing
    if mixing is None:
        return ()
    problem = _wrong_shapes(params, carry, cts, mixing)
    if problem:
        return (f"{_CLAIM}, but {problem}",)
    units = next(leaf.shape[-1] for leaf in jax.tree.leaves(carry) if is_inexact(leaf))
    found = quick_jit(partial(_reached, cell, mixing, units))
    worst: dict[str, float] = {}
    for chosen in _halves(units):
        reached = found(params, carry, x_t, cts, chosen)
        for path, leaf in jax.tree_util.tree_flatten_with_path(reached)[0]:
            outside = np.abs(np.reshape(leaf, (-1, leaf.shape[-1] // units, units)))[..., ~chosen]
            share = float(np.max(outside, initial=0) / (np.max(np.abs(leaf), initial=0) or 1))
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            worst[name] = max(worst.get(name, 0.0), share)
    return tuple(
        f"{_CLAIM}, but by {share:.1e} of its gradient the new carry or output of a unit depends "
        f"on {name} of others: name the params that join them, or claim nothing (mixing=None)"
        for name, share in worst.items()
        if not share <= tolerance
    )


def _wrong_shapes(params: Params, carry: Carry, cts: Any, mixing: tuple[str, ...]) -> str | None:
    sizes = {leaf.shape[-1:] for leaf in jax.tree.leaves((carry, cts)) if is_inexact(leaf)}
    if len(sizes) != 1 or () in sizes:
        return "the last axes of its carry and output are not all of one size H"
    ((units,),) = sizes
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        if is_inexact(leaf) and (leaf.ndim == 0 or leaf.shape[-1] % units):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            return f"{name} has shape {leaf.shape}, whose last axis is no blocks of H = {units}"
    for name in mixing:
        named = field(params, name) if name in fields_of(params) else None
        if getattr(named, "shape", ())[:-1] != (units,):
            return f"it names {name!r}, which is no weight matrix [H, G] of params"
    return None


def _halves(units: int) -> Iterator[np.ndarray]:
    """Sets of units [H]: of any two units, the first is in one that the second is not in."""
    for bit in range(max(units - 1, 0).bit_length()):
        in_it = (np.arange(units) >> bit) % 2 == 1
        yield in_it
        yield ~in_it


def _reached(
    cell: Cell,
    mixing: tuple[str, ...],
    units: int,
    params: Params,
    carry: Carry,
    x_t: PyTree,
    cts: Any,
    chosen: Array,
) -> dict[str, PyTree]:
    """The gradients of a cost of the chosen units of the new carry and output alone.

    Of params in one step; and of the carry before where the named params join no two units.
    """
    cts = jax.tree.map(lambda ct: ct * chosen, cts)

    def cost(params: Params, carry: Carry) -> Array:
        out = jax.tree.leaves(cell.step(params, carry, x_t))
        pairs = zip(jax.tree.leaves(cts), inexact(out), strict=True)
        return sum((jnp.sum(jnp.real(ct * leaf)) for ct, leaf in pairs), start=jnp.zeros(()))

    alone = within_units(params, mixing)
    params_ct = jax.grad(cost, allow_int=True)(params, carry)
    carry_ct = jax.grad(cost, 1, allow_int=True)(alone, carry)
    found = {"params": params_ct, "carry": carry_ct}
    if cell.rule is not None:  # which goes back by these params on the tape of the others
        _, tape = cell.rule.forward(params, carry, cell.rule.project(params, x_t))
        new_ct, y_ct = cts
        before, _ = cell.rule.backward(alone, tape, new_ct, y_ct, lambda delta: delta)
        found["carry_by_the_rule"] = before
    return differentiable(found)
