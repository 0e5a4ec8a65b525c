"""The state of a cell and its output as one real vector, whose entries are the rows of an influence
matrix; what they are derivatives with respect to.

All functions of this package but those of the learner act on one example, without batch axes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import is_inexact
from rnnjax._dtypes import promoted
from rnnjax._fields import output_leaf
from rnnjax._leaves import differentiable, inexact
from rnnjax._types import Array, Carry, Cell, Params, PyTree, known
from rnnjax.running import pack, unpack, vary_along, varying_axes


class Theta(NamedTuple):
    """What influence matrices have columns for: `differentiable` params, and carries.

    In a gradient the leaves are cotangents, in an influence matrix [R, *shape of the leaf].
    """

    params: PyTree
    carry: PyTree = ()  # the one before the first step, where its gradient is wanted
    fresh: PyTree = ()  # the one that episodes begin with, likewise


def replaced(tree: PyTree, values: PyTree) -> PyTree:
    """`tree` with the leaves of `values`, a list or like `differentiable(tree)`, in their place."""
    old, structure = jax.tree.flatten(tree)
    new = iter(jax.tree.leaves(values))
    return jax.tree.unflatten(structure, [next(new) if is_inexact(x) else x for x in old])


def state(carry: Carry) -> Array:
    """s [S]: the differentiable leaves of a carry; a complex number is two entries."""
    return pack(inexact(carry), 0)


def rows(cell: Cell, carry: Carry, y_t: PyTree) -> Array:
    """[R]: s_t, and y_t behind it where that is not one of the carry's fields."""
    own = [] if known(cell).output else inexact(y_t)
    return pack([*inexact(carry), *own], 0)


def num_rows(cell: Cell, params: Params, carry: Carry, x_t: PyTree) -> tuple[int, int]:
    """(R, S)."""

    def both(params: Params, carry: Carry, x_t: PyTree) -> tuple[Array, Array]:
        return rows(cell, *cell.step(params, carry, x_t)), state(carry)

    shapes = jax.eval_shape(both, params, carry, x_t)
    return shapes[0].shape[0], shapes[1].shape[0]


def rows_ct(cell: Cell, carry: Carry, carry_ct: Carry, y_ct: PyTree) -> Array:
    """The cotangent of `rows` [R], from those of the carry (None for none) and of y_t."""
    total = [jnp.zeros_like(leaf) for leaf in inexact(carry)]
    if carry_ct is not None:
        given = jax.tree.leaves(carry_ct)
        total = [_sum(a, b) for a, b in zip(total, given, strict=True)]
    output = known(cell).output
    if output is None:
        return _pack_ct([*total, *jax.tree.leaves(y_ct)])
    place = len(inexact(jax.tree.leaves(carry)[: output_leaf(carry, output)]))
    total[place] = _sum(total[place], y_ct)
    return _pack_ct(total)


def _sum(a: Array, b: Array) -> Array:
    wide = promoted(a, b)  # a learner's cotangents are in float32 at least
    return a.astype(wide) + b.astype(wide)


def _pack_ct(leaves: list[Array]) -> Array:
    # JAX's cotangent of z = a + ib is ∂C/∂a - i ∂C/∂b.
    return pack([leaf.conj() for leaf in leaves], 0)


def pull_back(origin: Callable[[Theta], Array], theta: Theta) -> tuple[Array, Callable[..., Theta]]:
    """s_0 = origin(θ), and the function from a cotangent of it [S] to that of θ."""
    s, pull = jax.vjp(origin, theta)
    return s, lambda ct: pull(_as_ct(s, ct))[0]


def _as_ct(out: Array, ct: Array) -> Array:
    """A cotangent in the type of what it is one of, under `jax.shard_map` too."""
    return vary_along(varying_axes(out), ct.astype(out.dtype))


class Linearised(NamedTuple):
    """One step to first order: rows_t ≈ … + J ds_{t-1} + I dθ."""

    carry: Carry  # after the step
    y_t: PyTree
    rows: Array  # [R]
    pull_back: Any  # cotangent of the rows [R] -> (those of the params, [S])
    push: Any  # tangent of s_{t-1} [S] -> tangent of the rows [R]


def linearised(cell: Cell, params: Params, carry: Carry, x_t: PyTree) -> Linearised:
    """The step of any cell, by autodiff."""
    weights, leaves = differentiable(params), inexact(carry)

    def step(weights: PyTree, before: list[Array]) -> tuple[Array, Any]:
        new, y_t = cell.step(replaced(params, weights), replaced(carry, before), x_t)
        return rows(cell, new, y_t), (new, y_t)

    out, pull, (new, y_t) = jax.vjp(step, weights, leaves, has_aux=True)

    def pull_back(ct: Array) -> tuple[PyTree, Array]:
        params_ct, before_ct = pull(_as_ct(out, ct))
        return params_ct, _pack_ct(before_ct)

    def push(tangent: Array) -> Array:
        moved = unpack(tangent, leaves)
        return jax.jvp(lambda before: step(weights, before)[0], (leaves,), (moved,))[1]

    return Linearised(new, y_t, out, pull_back, push)
