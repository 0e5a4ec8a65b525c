"""Derivatives against central differences, derivatives of derivatives, and forward mode.

Leaf by leaf the rules are compared in `test_unroll_is_the_loop`; here the whole gradient is, along
one direction that moves every entry.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_numpy import evaluated
from cells_table import KINDS, ROWS, WITH_RULE
from problems import Point, assert_close, cost, problem, quick_jit

from rnnjax import autodiff, bptt, unroll


def cost_of(name, gradient):
    cell = problem(name).cell

    def value(point):
        return cost(*unroll(cell, point.params, point.xs, carry=point.carry, gradient=gradient))

    return value


def point_of(name):
    _, params, xs, carry, _ = problem(name)
    return Point(params, xs, carry)


def cosines(point):
    """A direction to differentiate along."""

    def along(leaf):
        return np.cos(np.arange(leaf.size)).reshape(leaf.shape).astype(leaf.dtype)

    return jax.tree.map(along, point)


@pytest.mark.parametrize("name", ROWS)
def test_central_differences(name):
    if not ROWS[name].true_gradient:
        pytest.skip("its gradient is cut on purpose and is not that of the cost")
    plain = cost_of(name, bptt() if name in WITH_RULE else autodiff())
    value = evaluated(plain)
    point, along = point_of(name), cosines(point_of(name))
    gradient = evaluated(jax.grad(plain))(point)
    step = 1e-5

    def moved(by):
        return jax.tree.map(lambda x, v: np.asarray(x) + by * v, point, along)

    slope = (value(moved(step)) - value(moved(-step))) / (2 * step)
    pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(along), strict=True)
    directional = sum(np.sum(np.real(np.asarray(g) * v)) for g, v in pairs)
    np.testing.assert_allclose(directional, slope, rtol=1e-6)


KINDS_WITH_RULE = [name for name in KINDS if name in WITH_RULE]


@pytest.mark.parametrize("name", [*KINDS_WITH_RULE, "lstm_1997_truncated"])
def test_second_derivatives(name):
    point = point_of(name)
    along = cosines(point)

    def forward_over_reverse(gradient):
        grad = jax.grad(cost_of(name, gradient))
        return evaluated(lambda p, v: jax.jvp(grad, (p,), (v,))[1])(point, along)

    def reverse_over_reverse(gradient):
        def slope(point):
            grad = jax.grad(cost_of(name, gradient))(point)
            return sum(
                jnp.sum(jnp.real(g * v))
                for g, v in zip(*map(jax.tree.leaves, (grad, along)), strict=True)
            )

        return evaluated(jax.grad(slope))(point)

    want = forward_over_reverse(autodiff())
    assert_close(forward_over_reverse(bptt()), want, 1e-10)
    if ROWS[name].true_gradient:  # the second derivative of a cut gradient is not symmetric
        assert_close(reverse_over_reverse(bptt()), want, 1e-10)


@pytest.mark.parametrize("name", [*KINDS_WITH_RULE, "lstm_1997_truncated"])
def test_forward_mode_through_the_rule(name):
    point = point_of(name)

    def slope(gradient):
        value = cost_of(name, gradient)
        return evaluated(lambda p: jax.jvp(value, (p,), (cosines(p),)))(point)

    assert_close(slope(bptt()), slope(autodiff()), 1e-12)


@pytest.mark.parametrize("name", ["lstm", "gru_before", "users_own"])
def test_forward_mode_through_autodiff(name):
    point = point_of(name)
    value = cost_of(name, autodiff())
    forward, backward = quick_jit(lambda p: (jax.jacfwd(value)(p), jax.grad(value)(p)))(point)
    assert_close(forward, backward)
