"""Time, batch and feature axes of inputs, and the dtype in which a cell reads them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._checks import array_of, check_inputs, described, is_inexact
from rnnjax._params import input_dtypes
from rnnjax._types import Array, Cell, Params, PyTree, initial_carry


def leading_shape(
    cell: Cell, params: Params, xs: PyTree, lengths: Array | None = None
) -> tuple[int, tuple[int, ...]]:
    """The length T and the batch shape of xs, leaves `[T, ..., *features]`.

    A cell says with `Structure.feature_axes` how many axes at the end are features: an int for
    real or complex arrays, a tree of ints for every leaf of x_t. Where an int cannot decide, for
    leaves of different rank and for integers, the batch axes are those that the leaves have in
    common and with which the step keeps the shape of its carry.

    Raises:
      TypeError: complex inputs for a cell without complex params.
      ValueError: no time axis, or leaves whose lengths or batch shapes differ.
    """
    xs, lengths = check_inputs(xs), array_of(lengths)
    leaves = jax.tree.leaves(xs)
    if not leaves:
        raise ValueError("xs has no arrays in it: pass xs [T, ..., D], time first")
    axes = cell.structure.feature_axes
    if not isinstance(axes, int):
        try:
            axes = jax.tree.leaves(jax.tree.broadcast(axes, xs))
        except ValueError:
            hint = ""
            if isinstance(axes, tuple) and axes[1:] == (0,):
                hint = (
                    ", such as pairs (x_t, Δt): pass (xs, dt) with dt [T, ...], or, for equal "
                    "steps, make the cell rnnjax.fixed_dt(cell, dt)"
                )
            raise ValueError(
                f"xs is {described(xs)}, but {cell!r} reads inputs of the structure {axes}, where "
                f"numbers are those of feature axes{hint}"
            ) from None
        return _agreed([_leading(x, n) for x, n in zip(leaves, axes, strict=True)])
    if len({jnp.ndim(x) for x in leaves}) == 1 and all(map(is_inexact, leaves)):
        return _agreed([_leading(x, axes) for x in leaves])
    batch_shape = None if lengths is None else jnp.shape(lengths)
    return _agreed([_by_trial(cell, params, xs, batch_shape)])


def _leading(x: Any, feature_axes: int) -> tuple[int, ...]:
    """The shape of x without its feature axes, time included."""
    if jnp.ndim(x) < 1 + feature_axes:
        if feature_axes == 0:
            raise ValueError(f"a leaf of xs is {described(x)}: expected [T, ...], time first")
        sizes = ["D"] if feature_axes == 1 else [f"D{i + 1}" for i in range(feature_axes)]
        scalar = feature_axes == jnp.ndim(x) == 1
        hint = ". A scalar series needs xs[:, None]" if scalar else ""
        raise ValueError(
            f"xs has shape {jnp.shape(x)}: expected [T, ..., {', '.join(sizes)}], time first and "
            f"features last{hint}"
        )
    return jnp.shape(x)[: jnp.ndim(x) - feature_axes]


def _agreed(leading: list[tuple[int, ...]]) -> tuple[int, tuple[int, ...]]:
    shapes = set(leading)
    if len(shapes) > 1:
        raise ValueError(f"the leaves of xs differ in their leading [T, ...] axes: {shapes}")
    length, *batch = shapes.pop()
    return length, tuple(batch)


def _by_trial(
    cell: Cell, params: Params, xs: PyTree, lengths_shape: tuple[int, ...] | None
) -> tuple[int, ...]:
    """The longest leading shape that all leaves share and that the step accepts."""
    shapes = [jnp.shape(x) for x in jax.tree.leaves(xs)]
    common = 0
    while all(len(s) > common for s in shapes) and len({s[common] for s in shapes}) == 1:
        common += 1
    if common == 0:
        raise ValueError(
            f"the leaves of xs differ in their leading [T, ...] axes: {set(shapes)}. Every leaf "
            "is time first"
        )
    candidates = [shapes[0][:n] for n in range(common, 0, -1)]
    candidates.sort(key=lambda shape: shape[1:] != lengths_shape)  # stable: the longest first
    errors: list[Exception] = []
    for leading in candidates:
        try:
            if _keeps_carry(cell, params, xs, leading[1:]):
                return leading
        except (TypeError, ValueError) as error:
            errors.append(error)
    if errors:
        raise errors[-1]
    raise ValueError(
        f"with xs of shapes {', '.join(map(str, shapes))} the step changes the shape of its carry, "
        "whatever axes are taken for batch: say which axes are features with "
        "Structure(feature_axes=...)"
    )


def _keeps_carry(cell: Cell, params: Params, xs: PyTree, batch_shape: tuple[int, ...]) -> bool:
    def shapes(params: Params, x_t: PyTree) -> Any:
        carry = initial_carry(cell, params, batch_shape)
        return carry, cell.step(params, carry, x_t)[0]

    x_t = jax.tree.map(
        lambda x, dtype: jax.ShapeDtypeStruct(jnp.shape(x)[1:], dtype), xs, input_dtypes(params, xs)
    )
    before, after = jax.eval_shape(shapes, params, x_t)
    return jax.tree.map(jnp.shape, before) == jax.tree.map(jnp.shape, after)


def in_float32(params: Params) -> tuple[Params, Callable[[Params], Params]]:
    """Params in float32 at least, and the function that takes them back to their own dtypes.

    A loop over steps that reads the first by the second sums its gradient in float32: in bfloat16,
    a sum stops growing at 256 times its terms.
    """

    def is_low(x: Any) -> bool:
        return is_inexact(x) and jnp.finfo(jnp.result_type(x)).bits < 32

    if not any(map(is_low, jax.tree.leaves(params))):
        return params, lambda same: same

    def narrow(wide: Params) -> Params:
        return jax.tree.map(lambda w, p: w.astype(p.dtype) if is_low(p) else w, wide, params)

    return jax.tree.map(lambda p: p.astype(jnp.float32) if is_low(p) else p, params), narrow
