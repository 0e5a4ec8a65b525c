"""The minimal gated unit and the projected LSTM against their equations, written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def drawn(cell, inputs, seed=0):
    """Params and a carry with no zeros."""
    rng = np.random.default_rng(seed)

    def noise(leaf):
        return jnp.asarray(rng.standard_normal(leaf.shape))

    params = jax.tree.map(noise, cell.init(jax.random.key(0), inputs))
    return params, jax.tree.map(noise, cell.initial_carry(params, (3,)))


@pytest.mark.parametrize("variant", ["zhou", "flax", "flax_no_reset"])
@pytest.mark.usefixtures("eager")
def test_each_mgu_is_its_equation(variant):
    cell = rnnjax.mgu(4, variant=variant)
    params, carry = drawn(cell, 2)
    x, h = np.random.default_rng(1).standard_normal((3, 2)), np.asarray(carry.h)
    x_f, x_n = np.split(x @ np.asarray(params.w_x) + np.asarray(params.b), 2, axis=-1)
    w_f, w_n = np.split(np.asarray(params.w_h), 2, axis=-1)
    f = sigmoid(x_f + h @ w_f)
    if variant == "zhou":
        want = (1 - f) * h + f * np.tanh(x_n + (f * h) @ w_n)
    elif variant == "flax":
        want = (1 - f) * np.tanh(x_n + f * (h @ w_n + np.asarray(params.b_hn))) + f * h
    else:
        want = (1 - f) * np.tanh(x_n + h @ w_n) + f * h
    got, y = cell.step(params, carry, jnp.asarray(x))
    np.testing.assert_allclose(got.h, want, rtol=1e-13)
    np.testing.assert_array_equal(y, got.h)


@pytest.mark.usefixtures("eager")
def test_the_rule_without_reset_is_right():
    """The rule of "flax", which has a row among the contracts, where b_hn is None."""
    cell = rnnjax.mgu(4, variant="flax_no_reset")
    params, carry = drawn(cell, 2)
    xs = jnp.asarray(np.random.default_rng(1).standard_normal((3, 3, 2)))

    def cost(params, carry, xs, gradient):
        last, ys = rnnjax.unroll(cell, params, xs, carry=carry, gradient=gradient)
        return jnp.sum(jnp.sin(ys)) + jnp.sum(last.h**2)

    got, want = (
        jax.grad(cost, (0, 1, 2))(params, carry, xs, gradient)
        for gradient in (rnnjax.bptt(), rnnjax.autodiff())
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), got, want)


@pytest.mark.usefixtures("eager")
def test_projection_is_the_lstm_with_its_output_multiplied():
    cell = rnnjax.lstm_projected(4, 2)
    params, carry = drawn(cell, 3)
    x = jnp.asarray(np.random.default_rng(1).standard_normal((3, 3)))
    got, y = cell.step(params, carry, x)
    # The LSTM whose h has four entries, and whose W_h reads the same two numbers.
    w_h = params.w_p @ params.w_h
    h = np.linalg.lstsq(np.asarray(params.w_p).T, np.asarray(carry.h).T)[0].T
    plain = rnnjax.LSTMParams(params.w_x, w_h, params.b)
    want, _ = rnnjax.lstm(4).step(plain, rnnjax.LSTMCarry(jnp.asarray(h), carry.c), x)
    np.testing.assert_allclose(got.c, want.c, rtol=1e-10)
    np.testing.assert_allclose(y, want.h @ params.w_p, rtol=1e-10)
    assert got.h.shape == (3, 2)
