"""`fixed_dt`: a timed cell that reads its inputs alone, anywhere in a stack."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import autodiff, bptt, fixed_dt, unroll

T, B, D, H, DT = 4, 2, 3, 3, 0.3
TIMED = rnnjax.ctrnn(H, leak="rate", learn_tau=True, noise=0.2)
XS = jnp.asarray(np.random.default_rng(0).standard_normal((T, B, D)))


def gradients(cell, params, xs, gradient, **options):
    def cost(params, xs):
        carry, ys = unroll(cell, params, xs, gradient=gradient, **options)
        return jnp.sum(jnp.sin(ys)) + jnp.sum(carry.h)

    return jax.value_and_grad(cost, (0, 1))(params, xs)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("gradient", [autodiff(), bptt()], ids=str)
def test_it_is_the_cell_with_equal_steps(gradient):
    cell = fixed_dt(TIMED, DT)
    params = cell.init(jax.random.key(0), D)
    np.testing.assert_array_equal(params.w_x, TIMED.init(jax.random.key(0), D).w_x)
    options = {"key": jax.random.key(1), "lengths": jnp.array([T, 2])}
    cost, (params_ct, xs_ct) = gradients(cell, params, XS, gradient, **options)
    pairs = (XS, jnp.full((T, B), DT))
    want, (want_params, (want_xs, _)) = gradients(TIMED, params, pairs, gradient, **options)
    np.testing.assert_allclose(cost, want, rtol=1e-12)
    for a, b in zip(params_ct, want_params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(xs_ct, want_xs, rtol=1e-10, atol=1e-13)


@pytest.mark.usefixtures("eager")
def test_in_the_middle_of_a_stack():
    cell = rnnjax.stack(rnnjax.gru(H), rnnjax.residual(fixed_dt(TIMED, DT)), rnnjax.lstm(2))
    assert str(cell).startswith("stack(gru(3), residual(fixed_dt(ctrnn(3, ")
    params = cell.init(jax.random.key(0), D)

    def cost(gradient):
        return jax.grad(lambda p: jnp.sum(unroll(cell, p, XS, gradient=gradient)[1] ** 2))(params)

    for a, b in zip(*map(jax.tree.leaves, (cost(bptt()), cost(autodiff()))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


def test_errors():
    with pytest.raises(ValueError, match=r"pairs \(x_t, Δt\).*and lstm\(3\) does not"):
        fixed_dt(rnnjax.lstm(3), 1.0)
    for dt in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match="dt is the time between two steps"):
            fixed_dt(TIMED, dt)
    with pytest.raises(ValueError, match="dt must be a real number, got nan"):
        fixed_dt(TIMED, float("nan"))
    with pytest.raises(TypeError, match="expected a Cell"):
        fixed_dt(rnnjax.ctrnn, 1.0)
