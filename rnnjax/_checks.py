"""The validators behind the errors that users see: what was expected, what came, what to do."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._arguments import check_choice as check_choice
from rnnjax._arguments import check_positive_int as check_positive_int
from rnnjax._arguments import check_rate as check_rate
from rnnjax._arguments import nearest as nearest
from rnnjax._types import Array, Carry, PyTree


def is_float(x: Any) -> bool:
    """Whether an array, or anything with a dtype, is floating point."""
    return bool(jnp.issubdtype(jnp.result_type(x), jnp.floating))


def check_sequence(xs: PyTree) -> tuple[int, tuple[int, ...]]:
    """The length T and batch shape of `xs [T, ..., D]`.

    Raises:
      TypeError: integer or boolean inputs.
      ValueError: no time axis, or leaves whose lengths or batch shapes differ.
    """
    leaves = jax.tree.leaves(xs)
    if not leaves:
        raise ValueError("xs has no arrays in it: pass xs [T, ..., D], time first")
    for x in leaves:
        if not is_float(x):
            raise TypeError(
                f"xs has dtype {jnp.result_type(x)}: cells read floating-point features. Embed "
                "token ids first (table[ids], or flax.linen.Embed), or cast with xs.astype(float)"
            )
        if jnp.ndim(x) < 2:
            raise ValueError(
                f"xs has shape {jnp.shape(x)}: expected [T, ..., D], time first and features last. "
                "A scalar series needs xs[:, None]"
            )
    leading = {jnp.shape(x)[:-1] for x in leaves}
    if len(leading) > 1:
        raise ValueError(f"the leaves of xs differ in their leading [T, ...] axes: {leading}")
    length, *batch = leading.pop()
    return length, tuple(batch)


def check_lengths(lengths: Array, length: int, batch_shape: tuple[int, ...]) -> Array:
    """`lengths` as int32 of the batch shape; values are checked where they are known."""
    if not jnp.issubdtype(jnp.result_type(lengths), jnp.integer):
        raise TypeError(
            f"lengths has dtype {jnp.result_type(lengths)}: expected integers, one length for each "
            "sequence"
        )
    if jnp.shape(lengths) != batch_shape:
        raise ValueError(
            f"lengths has shape {jnp.shape(lengths)} but the batch shape of xs is {batch_shape}: "
            "give one length for each sequence"
        )
    if not isinstance(lengths, Tracer):
        values = np.asarray(lengths)
        if values.size and (values.min() < 0 or values.max() > length):
            raise ValueError(
                f"lengths must lie in 0..{length} (T of xs), got values from {values.min()} to "
                f"{values.max()}"
            )
    return jnp.asarray(lengths, jnp.int32)


def check_resets(resets: Array, length: int, batch_shape: tuple[int, ...]) -> Array:
    """`resets`, if it is a boolean [T, ...]."""
    if jnp.result_type(resets) != jnp.bool_:
        raise TypeError(
            f"resets has dtype {jnp.result_type(resets)}: expected booleans, true where a new "
            "episode begins"
        )
    if jnp.shape(resets) != (length, *batch_shape):
        raise ValueError(
            f"resets has shape {jnp.shape(resets)}: expected {(length, *batch_shape)}, the leading "
            "axes of xs"
        )
    return jnp.asarray(resets)


def check_carry(name: str, carry: Carry, expected: Carry) -> None:
    """Raise ValueError unless `carry` has the structure, shapes and dtypes of `expected`."""
    got_leaves, got_tree = jax.tree_util.tree_flatten_with_path(carry)
    want_leaves, want_tree = jax.tree_util.tree_flatten_with_path(expected)
    if got_tree != want_tree:
        raise ValueError(f"{name} has the structure {got_tree}, expected {want_tree}")
    for (path, got), (_, want) in zip(got_leaves, want_leaves, strict=True):
        if jnp.shape(got) != jnp.shape(want) or jnp.result_type(got) != jnp.result_type(want):
            leaf = jax.tree_util.keystr(path)
            raise ValueError(
                f"{name}{leaf} is {jnp.result_type(got)}{list(jnp.shape(got))}, expected "
                f"{jnp.result_type(want)}{list(jnp.shape(want))}"
            )
