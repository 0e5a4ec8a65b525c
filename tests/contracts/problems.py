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


# Examples 0 to 2: whole, ragged, empty, each one episode. 3: episodes that begin inside; 4: one at
# the very first step, and a reset that lies in padding; 5: the same, without padding.
RAGGED = jnp.array([T, 3, 0, T, 3, T])
FULL = jnp.full(B, T)
NO_RESETS = jnp.zeros((T, B), bool)
RESETS = NO_RESETS.at[jnp.array([2, 4]), 3].set(True)
RESETS = RESETS.at[jnp.array([0, 3])[:, None], jnp.array([4, 5])[None]].set(True)
PADDING = jnp.arange(T)[:, None] >= RAGGED[None]  # [T, B]


# Many small programs that run for an instant: compiling them is all that costs.
_OPTIONS = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
quick_jit = functools.partial(jax.jit, compiler_options=_OPTIONS)


def is_inexact(leaf) -> bool:
    """Real or complex: has a gradient."""
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def is_key(leaf) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def noisy(seed: int, tree, scale=0.3):
    """Gaussian noise on every differentiable leaf."""
    rng = np.random.default_rng(seed)

    def add(leaf):
        noise = rng.standard_normal(leaf.shape)
        if jnp.iscomplexobj(leaf):
            noise = noise + 1j * rng.standard_normal(leaf.shape)
        return jnp.asarray(leaf + scale * noise, leaf.dtype)

    return jax.tree.map(lambda leaf: add(leaf) if is_inexact(leaf) else leaf, tree)


def draw(seed: int, inputs, *leading: int, scale=1.0):
    """Random inputs `[*leading, *features]` for the features that `init` takes."""

    def is_shape(node):
        return isinstance(node, tuple) and all(isinstance(size, int) for size in node)

    def zeros(shape):
        return np.zeros(leading + ((shape,) if isinstance(shape, int) else shape))

    return noisy(seed, jax.tree.map(zeros, inputs, is_leaf=is_shape), scale)


def at(tree, *index):
    """The same entry of every leaf, by NumPy, which compiles nothing."""

    def entry(leaf):
        is_plain = not isinstance(leaf, jax.core.Tracer) and not is_key(leaf)
        return (np.asarray(leaf) if is_plain else leaf)[index]

    return jax.tree.map(entry, tree)


@functools.cache
def problem(name: str) -> Problem:
    row = ROWS[name]
    params = noisy(1, row.cell.init(jax.random.key(7), row.inputs), row.noise)
    xs = draw(2, row.inputs, T, B)
    carry = noisy(3, row.cell.initial_carry(params, (B,)), 0.5)
    return Problem(row.cell, params, xs, carry, jax.random.key(8))


def weights(index: int, leaf):
    """Fixed weights of a cost, different for every entry of every leaf."""
    cosines = np.cos(1.7 * index + np.arange(leaf.size)).reshape(leaf.shape)
    return jnp.asarray(cosines * (1 - 0.6j) if jnp.iscomplexobj(leaf) else cosines, leaf.dtype)


def cost(carry, ys):
    """Re Σ w (v + v²/2) over every differentiable v in the outputs and the last carry."""
    leaves = [leaf for leaf in jax.tree.leaves((ys, carry)) if is_inexact(leaf)]
    return sum(jnp.sum(jnp.real(weights(k, v) * (v + v * v / 2))) for k, v in enumerate(leaves))


def gradient_of(cell, cost=cost, of=Point._fields, **options):
    """`(point, **arrays) -> Result`: one run, its outputs and its gradients, 0 for all but `of`."""

    def run(point: Point, **arrays):
        def value(*moving):
            point = zip(Point._fields, moving, strict=True)
            params, xs, carry = (x if k in of else jax.lax.stop_gradient(x) for k, x in point)
            here = arrays if carry is None else {**arrays, "carry": carry}
            last, ys = unroll(cell, params, xs, **here, **options)
            return cost(last, ys), (last, ys)

        gradients, (last, ys) = jax.grad(value, (0, 1, 2), has_aux=True, allow_int=True)(*point)
        return Result(last, ys, Point(*gradients))

    return run


@functools.cache
def first_carry(name: str):
    """The carry that a key makes, in its training form."""
    cell, params, _, _, key = problem(name)
    return quick_jit(cell.initial_carry, static_argnums=1)(params, (B,), key)


@functools.cache
def program(name: str, **options):
    """`gradient_of` a row, compiled once in each process."""
    return quick_jit(gradient_of(ROWS[name].cell, **options))


def fill_padding(xs, *values):
    """xs with the values in turn, one for each example, in the padding of differentiable leaves."""
    values = jnp.resize(jnp.asarray(values), (B,))

    def put(leaf):
        axes = (1,) * (leaf.ndim - 2)
        filler = jnp.broadcast_to(values.reshape(1, B, *axes), leaf.shape).astype(leaf.dtype)
        return jnp.where(PADDING.reshape(T, B, *axes), filler, leaf)

    return jax.tree.map(lambda leaf: put(leaf) if is_inexact(leaf) else leaf, xs)


def inexact_leaves(tree):
    return [
        (jax.tree_util.keystr(path), np.asarray(leaf))
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
        if is_inexact(leaf)
    ]


def difference(got, want) -> float:
    """The largest of max |got - want| / max |want| over the leaves; inf where one is NaN."""
    worst = 0.0
    for (path, a), (same, b) in zip(inexact_leaves(got), inexact_leaves(want), strict=True):
        assert path == same
        assert a.shape == b.shape, path
        if a.size:
            scale = np.abs(b).max() or 1.0
            error = np.abs(a - b).max() / scale
            worst = max(worst, np.inf if np.isnan(error) else float(error))
    return worst


def assert_close(got, want, tolerance=1e-11) -> None:
    for (path, a), (same, b) in zip(inexact_leaves(got), inexact_leaves(want), strict=True):
        assert path == same
        assert a.shape == b.shape, path
        if a.size:
            error = np.abs(a - b).max() / (np.abs(b).max() or 1.0)
            assert error <= tolerance, f"{path}: relative difference {error:.1e}"
