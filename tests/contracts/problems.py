"""Small problems over the table: params, inputs, a cost, and its value and gradients."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from cells_table import ROWS, B, T

from rnnjax import Cell, unroll


class Problem(NamedTuple):
    cell: Cell
    params: Any
    xs: Any  # [T, B, D]
    carry: Any  # of batch B; away from zero, so that no product with it hides an error
    key: Any


class Point(NamedTuple):
    """All that is differentiable."""

    params: Any
    xs: Any
    carry: Any


class Result(NamedTuple):
    carry: Any
    ys: Any
    gradients: Point


RAGGED = jnp.array([T, 3, 0])
FULL = jnp.full(B, T)
NO_RESETS = jnp.zeros((T, B), bool)
# Two episodes that begin inside, one at the very first step, one reset that lies in padding.
RESETS = NO_RESETS.at[2, 0].set(True).at[4, 0].set(True).at[0, 1].set(True).at[3, 1].set(True)


def is_float(leaf) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def noisy(key, tree, scale=0.3):
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, max(1, len(leaves)))
    drawn = [
        leaf + scale * jax.random.normal(k, leaf.shape, leaf.dtype) if is_float(leaf) else leaf
        for k, leaf in zip(keys, leaves, strict=False)
    ]
    return jax.tree.unflatten(structure, drawn)


@functools.cache
def problem(name: str) -> Problem:
    row = ROWS[name]
    keys = jax.random.split(jax.random.key(7), 5)
    params = noisy(keys[0], row.cell.init(keys[1], row.input_size))
    xs = jax.random.normal(keys[2], (T, B, row.input_size))
    carry = noisy(keys[3], row.cell.initial_carry(params, (B,)), 0.5)
    return Problem(row.cell, params, xs, carry, keys[4])


def weights(index: int, leaf):
    """Fixed weights of a cost, different for every entry of every leaf."""
    return jnp.cos(1.7 * index + jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape)


def cost(carry, ys):
    """Σ w (v + v²/2) over every float v in the outputs and the last carry."""
    leaves = [leaf for leaf in jax.tree.leaves((ys, carry)) if is_float(leaf)]
    return sum(jnp.sum(weights(k, v) * (v + v * v / 2)) for k, v in enumerate(leaves))


def gradient_of(cell, cost=cost, **options):
    """`(point, **arrays) -> Result`: one run, its outputs and its gradients."""

    def run(point: Point, **arrays):
        def value(params, xs, carry):
            here = arrays if carry is None else {**arrays, "carry": carry}
            last, ys = unroll(cell, params, xs, **here, **options)
            return cost(last, ys), (last, ys)

        gradients, (last, ys) = jax.grad(value, (0, 1, 2), has_aux=True, allow_int=True)(*point)
        return Result(last, ys, Point(*gradients))

    return run


@functools.cache
def program(name: str, **options):
    """`gradient_of` a row, compiled once in each process."""
    return jax.jit(gradient_of(ROWS[name].cell, **options))


def float_leaves(tree):
    return [
        (jax.tree_util.keystr(path), np.asarray(leaf))
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
        if is_float(leaf)
    ]


def difference(got, want) -> float:
    """The largest of max |got - want| / max |want| over the leaves; inf where one is NaN."""
    worst = 0.0
    for (path, a), (same, b) in zip(float_leaves(got), float_leaves(want), strict=True):
        assert path == same
        assert a.shape == b.shape, path
        if a.size:
            scale = np.abs(b).max() or 1.0
            error = np.abs(a - b).max() / scale
            worst = max(worst, np.inf if np.isnan(error) else float(error))
    return worst


def assert_close(got, want, tolerance=1e-11) -> None:
    for (path, a), (same, b) in zip(float_leaves(got), float_leaves(want), strict=True):
        assert path == same
        assert a.shape == b.shape, path
        if a.size:
            error = np.abs(a - b).max() / (np.abs(b).max() or 1.0)
            assert error <= tolerance, f"{path}: relative difference {error:.1e}"
