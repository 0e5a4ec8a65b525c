"""Derivatives against central differences, derivatives of derivatives, and what is refused."""

import jax
import jax.numpy as jnp
import pytest
from cells_table import ROWS, WITH_RULE
from jax.test_util import check_grads
from problems import Point, assert_close, cost, problem, quick_jit

from rnnjax import autodiff, bptt, unroll


def cost_of(name, gradient):
    cell = problem(name).cell

    def value(point):
        return cost(*unroll(cell, point.params, point.xs, carry=point.carry, gradient=gradient))

    return value


def point_of(name):
    _, params, xs, carry, _ = problem(name)
    return Point(params, xs[:4, :2], jax.tree.map(lambda leaf: leaf[:2], carry))


@pytest.mark.parametrize("name", ROWS)
def test_central_differences(name):
    if not ROWS[name].true_gradient:
        pytest.skip("its gradient is cut on purpose and is not that of the cost")
    gradient = bptt() if name in WITH_RULE else autodiff()
    compiled = quick_jit(jax.value_and_grad(cost_of(name, gradient)))

    @jax.custom_vjp  # so that both are compiled once, and quickly
    def value(point):
        return compiled(point)[0]

    value.defvjp(compiled, lambda slope, ct: (jax.tree.map(lambda leaf: ct * leaf, slope),))
    check_grads(value, (point_of(name),), order=1, modes=["rev"], eps=1e-5, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", WITH_RULE)
def test_second_derivatives(name):
    point = point_of(name)
    along = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), point)

    def forward_over_reverse(gradient):
        grad = jax.grad(cost_of(name, gradient))
        return jax.jvp(grad, (point,), (along,))[1]

    def reverse_over_reverse(gradient):
        def slope(point):
            grad = jax.grad(cost_of(name, gradient))(point)
            return sum(
                jnp.vdot(g, v) for g, v in zip(*map(jax.tree.leaves, (grad, along)), strict=True)
            )

        return jax.grad(slope)(point)

    want = quick_jit(lambda: forward_over_reverse(autodiff()))()
    assert_close(quick_jit(lambda: forward_over_reverse(bptt()))(), want, 1e-10)
    if ROWS[name].true_gradient:  # the second derivative of a cut gradient is not symmetric
        assert_close(quick_jit(lambda: reverse_over_reverse(bptt()))(), want, 1e-10)


@pytest.mark.parametrize("name", WITH_RULE)
def test_forward_mode_through_bptt_names_the_way_out(name):
    point = point_of(name)
    value = cost_of(name, bptt())
    for attempt in (
        lambda: jax.jvp(value, (point,), (point,)),
        lambda: jax.jacfwd(value)(point),
        lambda: jax.jit(jax.jacfwd(value))(point),
    ):
        with pytest.raises(TypeError, match=r"gradient=autodiff\(\)"):
            attempt()


@pytest.mark.parametrize("name", ["lstm", "gru_before", "users_own"])
def test_forward_mode_through_autodiff(name):
    point = point_of(name)
    value = cost_of(name, autodiff())
    forward, backward = quick_jit(lambda p: (jax.jacfwd(value)(p), jax.grad(value)(p)))(point)
    assert_close(forward, backward)
