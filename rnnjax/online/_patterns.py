"""Which params reach which entries of the state within n steps: the sparsity of SnAp-n."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.random import key_impl

from rnnjax._random import is_key
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.online._rows import inexact, linearised

_PROBES = 16  # a ReLU that is off at all of them would be taken for one that never is on


def pattern(cell: Cell, params: Params, carry: Carry, x_t: PyTree, n: int) -> PyTree:
    """For each trainable leaf of params, [R, *shape] booleans: true where it reaches a row of
    (s_t, y_t) within n steps.

    A property of the step and not of the weights' values: what is zero at all of some random
    params, carries and inputs is taken for zero everywhere.
    """
    leaves, tree = jax.tree.flatten((params, carry, x_t))
    like = tuple((leaf.shape, leaf.dtype, is_key(leaf) and key_impl(leaf)) for leaf in leaves)
    return _pattern(cell, tree, like, n)


@functools.lru_cache(64)
def _pattern(cell: Cell, tree: Any, like: tuple[Any, ...], n: int) -> PyTree:
    rng = np.random.default_rng(0)

    def drawn(shape: tuple[int, ...], dtype: Any, impl: Any) -> Any:
        shape = (_PROBES, *shape)
        if impl:
            return jax.random.split(jax.random.key(0, impl=impl), shape)
        if not jnp.issubdtype(dtype, jnp.inexact):
            return np.ones(shape, dtype)
        noise = rng.standard_normal(shape)
        if jnp.issubdtype(dtype, jnp.complexfloating):
            noise = noise + 1j * rng.standard_normal(shape)
        return (0.5 * noise).astype(dtype)

    with jax.ensure_compile_time_eval():
        at = jax.tree.unflatten(tree, [drawn(*each) for each in like])
        jacobians, direct = jax.jit(jax.vmap(functools.partial(_derivatives, cell)))(*at)
    jacobian = np.any(np.asarray(jacobians) != 0, axis=0).astype(float)
    reached = jax.tree.map(lambda i: np.any(np.asarray(i) != 0, axis=0), direct)
    count, size = jacobian.shape
    other = _other_part(at[1], count)

    def whole(rows: Any) -> np.ndarray:
        return np.logical_or(rows, rows[other])

    now = [whole(r.reshape(count, -1)) for r in jax.tree.leaves(reached)]
    for _ in range(n - 1):
        later = [whole(np.logical_or(rows, jacobian @ rows[:size] > 0)) for rows in now]
        if all(map(np.array_equal, now, later)):
            break
        now = later
    flat, structure = jax.tree.flatten(reached)
    shaped = [a.reshape(r.shape) for a, r in zip(now, flat, strict=True)]
    return jax.tree.unflatten(structure, shaped)


def _other_part(carries: Carry, count: int) -> np.ndarray:
    """[R]: the row of the other part of the same complex number, which is one entry of the state;
    the row itself where it is real."""
    other, begin = np.arange(count), 0
    for leaf in inexact(carries):
        size = math.prod(leaf.shape[1:])
        if np.iscomplexobj(leaf):
            other[begin : begin + 2 * size] = np.roll(other[begin : begin + 2 * size], size)
            begin += size
        begin += size
    return other


def _derivatives(cell: Cell, params: Params, carry: Carry, x_t: PyTree) -> tuple[Array, Any]:
    step = linearised(cell, params, carry, x_t)
    direct, jacobian = jax.vmap(step.pull_back)(jnp.eye(step.rows.shape[0], dtype=step.rows.dtype))
    return jacobian, direct
