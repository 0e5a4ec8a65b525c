"""What a search for fixed points starts from: states and inputs, checked and laid out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import arrays_of, check_carry, described, is_array, is_inexact
from rnnjax._random import carry_form, is_key
from rnnjax._types import Array, Carry, Cell, Params, PyTree, initial_carry
from rnnjax.flow._probe import sources


def count_of(cell: Cell, params: Params, starts: Carry) -> int:
    """N, the number of states.

    Raises:
      ValueError: leaves that are not all `[N, ...]`, or a state without N.
    """
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(starts)]
    one = jax.eval_shape(lambda params: initial_carry(cell, params, ()), params)
    alone = jax.tree.structure(starts) == jax.tree.structure(one)
    alone = alone and shapes == [leaf.shape for leaf in jax.tree.leaves(one)]
    if alone or len({shape[:1] for shape in shapes}) != 1 or shapes[0] == ():
        raise ValueError(
            "starts must be N states with leaves [N, ...], such as "
            f"cell.initial_carry(params, (N,)), got {described(starts)}"
            + (", which is one state without N: give its leaves [1, ...]" if alone else "")
        )
    return shapes[0][0]


def check_starts(cell: Cell, params: Params, starts: Carry, count: int) -> None:
    """Raise ValueError unless `starts` are N states of the cell, with or without randomness."""
    plain = initial_carry(cell, params, (count,))
    check_carry("starts", starts, carry_form(cell, params, (count,), starts, plain))


def check_still(cell: Cell, params: Params, starts: Carry, x: PyTree) -> None:
    """Raise ValueError if the state's next value depends on a leaf that cannot be at rest.

    Those are PRNG keys, and integers that the step changes.
    """
    places = jax.tree_util.tree_flatten_with_path(starts)[0]
    if all(is_inexact(leaf) for _, leaf in places):
        return
    first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), (starts, x))
    for k in sources(cell, params, *first):
        path, leaf = places[k]
        name = f"starts{jax.tree_util.keystr(path)}"
        if is_key(leaf):
            own = jax.eval_shape(lambda params: initial_carry(cell, params, ()), params)
            always = any(map(is_key, jax.tree.leaves(own)))
            raise ValueError(
                f"the cell draws from the PRNG keys {name} at every step, and a net with "
                "randomness has no fixed points: "
                + (
                    "search those of a cell that draws nothing"
                    if always
                    else "pass starts without a key, as cell.initial_carry(params, (N,)) makes them"
                )
            )
        if not is_inexact(leaf):
            raise ValueError(
                f"the next state depends on {name}, {described(leaf)}, which the step changes and "
                "which has no derivative: it cannot be part of a fixed point. Search those of a "
                "cell in which it is constant"
            )


def for_each(cell: Cell, x: PyTree, count: int) -> PyTree:
    """`x`, one for each start: leaves `[N, *features]`.

    Raises:
      TypeError: a leaf that is no array of numbers.
      ValueError: another structure or shape than those of one input or of N.
    """
    x = arrays_of(x)
    for leaf in jax.tree.leaves(x):
        if not (is_array(leaf) or isinstance(leaf, int | float | complex)):
            raise TypeError(f"x must be one input, an array [D] or [N, D], got {described(leaf)}")
    axes: Any = cell.structure.feature_axes
    try:
        axes = jax.tree.broadcast(axes, x)
    except ValueError:
        timed = isinstance(axes, tuple) and axes[1:] == (0,)
        hint = ": pass the pair (x, Δt), or make the cell rnnjax.fixed_dt(cell, dt)"
        raise ValueError(
            f"x must be one input x_t of the cell, whose feature axes are {axes}, got "
            f"{described(x)}{hint if timed else ''}"
        ) from None

    def each(leaf: Array, features: int) -> Array:
        leaf = jnp.asarray(float(leaf) if type(leaf) is int else leaf)
        if leaf.ndim == features:
            return jnp.broadcast_to(leaf, (count, *leaf.shape))
        if leaf.ndim != features + 1 or len(leaf) != count:
            axes = [f"D{k + 1}" for k in range(features)] if features > 1 else ["D"] * features
            raise ValueError(
                f"x must be one input [{', '.join(axes)}] for all starts, or "
                f"[{', '.join(['N', *axes])}] with one for each of the N = {count} starts, got "
                f"shape {leaf.shape}"
            )
        return leaf

    return jax.tree.map(each, x, axes)
