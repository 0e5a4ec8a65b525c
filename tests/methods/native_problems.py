"""Problems for the compiled kernels, and their values and gradients by a kernel or by the loop."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from op_by_op import op_by_op

import rnnjax
from rnnjax import native, sequential, unroll
from rnnjax.methods import AVAILABILITY

CELLS = {
    "vanilla_tanh": rnnjax.vanilla,
    "vanilla_relu": functools.partial(rnnjax.vanilla, activation="relu"),
    "lstm": rnnjax.lstm,
    "lstm_1997": rnnjax.lstm_1997,
    "gru": rnnjax.gru,
    "peephole_lstm": rnnjax.peephole_lstm,
}
# T, B, D, H: no step, no example, no input; one; odd; several row groups; several panels.
SHAPES = [
    (0, 2, 3, 4),
    (3, 0, 2, 3),
    (4, 2, 0, 3),
    (1, 1, 1, 1),
    (7, 3, 17, 5),
    (5, 1, 3, 255),
    (6, 50, 1, 17),
    (3, 33, 9, 65),
    (2, 255, 3, 2),
    (70, 5, 3, 16),
]

needs_kernels = pytest.mark.skipif(
    AVAILABILITY["native"]() is not None, reason=str(AVAILABILITY["native"]())
)


def problem(name, shape, dtype=np.float64, seed=0):
    """A cell, params and a carry without zeros, and everything that can come with xs."""
    T, B, D, H = shape
    cell, rng = CELLS[name](H, dtype=dtype), np.random.default_rng(seed)

    def drawn(leaf, scale):
        return jnp.asarray(scale * rng.standard_normal(leaf.shape), dtype)

    def weight(leaf):
        return drawn(leaf, 0.4 if leaf.ndim == 1 else 1 / max(leaf.shape[0], 1) ** 0.5)

    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), max(D, 1)))
    w_x = jax.ShapeDtypeStruct((D, params.w_x.shape[1]), dtype)
    params = jax.tree.map(weight, params._replace(w_x=w_x))
    carry = jax.eval_shape(lambda: cell.initial_carry(params, (B,)))
    carry = jax.tree.map(
        lambda leaf: jnp.asarray(0.5 * rng.standard_normal(leaf.shape), dtype), carry
    )
    xs = jnp.asarray(rng.standard_normal((T, B, D)), dtype)
    flags = {
        "lengths": jnp.asarray(rng.integers(0, T + 1, B)),
        "resets": jnp.asarray(rng.random((T, B)) < 0.2),
    }
    return cell, params, xs, carry, flags


@functools.cache
def compiled(cell, method, reverse):
    """The outputs and the gradients of a weighted sum of them, as a function of arrays."""

    @jax.jit
    def run(params, xs, carry, flags, directions):
        def cost(params, xs, carry):
            out = unroll(cell, params, xs, carry=carry, method=method, reverse=reverse, **flags)
            return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, out, directions))), out

        return jax.grad(cost, (0, 1, 2), has_aux=True)(params, xs, carry)

    return run


def value_and_gradients(cell, params, xs, carry, method, reverse=False, **flags):
    rng = np.random.default_rng(9)

    def direction(leaf):
        return jnp.asarray(rng.standard_normal(leaf.shape), leaf.dtype)

    ys = jax.ShapeDtypeStruct((*xs.shape[:2], carry.h.shape[1]), xs.dtype)
    directions = jax.tree.map(direction, (carry, ys))
    few = 1 <= xs.shape[0] <= 7  # steps, which take less time than compiling a loop
    with op_by_op() if few else contextlib.nullcontext():
        return compiled(cell, method, reverse)(params, xs, carry, flags, directions)


def by_the_portable_loop(cell, params, xs, carry, reverse=False, **flags):
    """By one program, whatever the flags: without them all is valid and nothing restarts."""
    T, B, _ = xs.shape
    flags = {"lengths": jnp.full(B, T), "resets": jnp.zeros((T, B), bool), **flags}
    return value_and_gradients(cell, params, xs, carry, sequential(), reverse, **flags)


def worst(got, want):
    """The largest relative difference of any leaf."""
    errors = [0.0]
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.shape == b.shape
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.size:
            assert np.isfinite(a).all()
            errors.append(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))
    return max(errors)


def options_for(name, shape, flags):
    """Either direction, with and without lengths and resets."""
    rng = np.random.default_rng(sum(shape) + len(name))
    chosen = {key: flags[key] for key in flags if rng.random() < 0.7}
    return {"reverse": bool(rng.integers(2)), **chosen}


@functools.cache
def expected(name, shape):
    cell, params, xs, carry, flags = problem(name, shape, seed=sum(shape))
    options = options_for(name, shape, flags)
    return value_and_gradients(cell, params, xs, carry, sequential(), **options)


def check_a_shape(name, shape, want):
    cell, params, xs, carry, flags = problem(name, shape, seed=sum(shape))
    options = options_for(name, shape, flags)
    by_kernel = value_and_gradients(cell, params, xs, carry, native(), **options)
    assert worst(by_kernel, want) < 1e-12
