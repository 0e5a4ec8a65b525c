"""Validators behind user-facing errors: what was expected, what came, what to do."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._arguments import (
    check_choice as check_choice,
    check_positive_int as check_positive_int,
    check_rate as check_rate,
    nearest as nearest,
)
from rnnjax._types import Array, Carry, Cell


def is_inexact(x: Any) -> bool:
    """Whether an array, or anything with a dtype, is real or complex: may be differentiated."""
    return bool(jnp.issubdtype(jnp.result_type(x), jnp.inexact))


def array_of(x: Any) -> Any:
    """A list or tuple of numbers as an array; all else as it is."""
    return np.asarray(x) if isinstance(x, list | tuple) else x


def is_feature_shape(node: Any) -> bool:
    """Whether a node of `Inputs` says the features of one array: D, or a tuple of sizes."""
    sizes = node if isinstance(node, tuple) else (node,)
    return all(isinstance(size, int | np.integer) for size in sizes)


def check_cell(cell: Any) -> Cell:
    """`cell`, if it is a `Cell` whose rule belongs to its step."""
    if not isinstance(cell, Cell):
        hint = " Call it, as in rnnjax.lstm(128)" if callable(cell) else ""
        if hasattr(cell, "apply"):
            hint = " A layer is applied with layer.apply(params, xs)"
        got = type(cell).__name__
        raise TypeError(f"expected a Cell such as rnnjax.lstm(128), got {got}.{hint}")
    if cell.rule is not None and cell.rule.step is not None and cell.rule.step != cell.step:
        raise ValueError(
            "the step of this cell was replaced, and its rule is that of the old step: change a "
            "step with rnnjax.wrap(cell, change), or replace both, as in "
            "cell._replace(step=..., rule=None)"
        )
    return cell


def check_lengths(lengths: Array, length: int, batch_shape: tuple[int, ...]) -> Array:
    """`lengths` as int32 of the batch shape; values are checked where they are known."""
    lengths = array_of(lengths)
    if not jnp.issubdtype(jnp.result_type(lengths), jnp.integer):
        raise TypeError(
            f"lengths has dtype {jnp.result_type(lengths)}: expected integers, one length for each "
            "sequence"
        )
    if jnp.shape(lengths) != batch_shape:
        raise ValueError(
            f"lengths has shape {jnp.shape(lengths)} but the batch shape of xs is {batch_shape}: "
            "give one length for each sequence. (A cell whose inputs have several feature axes "
            "says so with Structure(feature_axes=...))"
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
    resets = array_of(resets)
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
