"""The IndRNN against its equations, and against a vanilla cell with a diagonal matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import autodiff, bptt, unroll
from rnnjax.cells import IndRNNCarry, IndRNNParams, VanillaCarry, VanillaParams
from rnnjax.gradients import check, clip_by_value

pytestmark = pytest.mark.usefixtures("eager")

T, B, D, H = 6, 2, 3, 4
RNG = np.random.default_rng(0)
ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "identity": lambda z: z,
}


def arrays(*shapes):
    return [jnp.asarray(RNG.standard_normal(shape)) for shape in shapes]


PARAMS = IndRNNParams(*arrays((D, H), (H,), (H,)))
XS, H_0 = arrays((T, B, D), (B, H))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_equations_in_numpy(name):
    phi, h = ACTIVATIONS[name], np.asarray(H_0)
    w_x, u, b = map(np.asarray, PARAMS)
    want = []
    for x in np.asarray(XS):
        z = np.einsum("bd,dh->bh", x, w_x) + u * h + b
        h = phi(z)
        want.append(h)
    carry, ys = unroll(rnnjax.indrnn(H, name), PARAMS, XS, carry=IndRNNCarry(H_0))
    np.testing.assert_allclose(ys, want, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(carry.h, ys[-1])


def value_and_gradients(cell, params, carry, gradient):
    def cost(params, xs, carry):
        last, ys = unroll(cell, params, xs, carry=carry, gradient=gradient)
        return jnp.sum(jnp.sin(ys)) + jnp.sum(last.h**2)

    return jax.value_and_grad(cost, (0, 1, 2))(params, XS, carry)


@pytest.mark.parametrize("clip", [None, clip_by_value(0.5)], ids=["whole", "clipped"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_is_a_vanilla_cell_with_a_diagonal_matrix(name, clip):
    plain = VanillaParams(PARAMS.w_x, jnp.diag(PARAMS.u), PARAMS.b)
    value, (params_ct, xs_ct, carry_ct) = value_and_gradients(
        rnnjax.indrnn(H, name), PARAMS, IndRNNCarry(H_0), bptt(clip)
    )
    want, (plain_ct, want_xs, want_carry) = value_and_gradients(
        rnnjax.vanilla(H, name), plain, VanillaCarry(H_0), bptt(clip)
    )
    np.testing.assert_allclose(value, want, rtol=1e-12)
    np.testing.assert_allclose(params_ct.w_x, plain_ct.w_x, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(params_ct.u, jnp.diag(plain_ct.w_h), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(params_ct.b, plain_ct.b, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(xs_ct, want_xs, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(carry_ct.h, want_carry.h, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_rule_is_right(name):
    assert check(rnnjax.indrnn(H, name), inputs=D).passed


def test_rule_is_right_with_lengths_and_resets():
    resets = jnp.zeros((6, 3), bool).at[2, 0].set(True).at[0, 1].set(True)
    report = check(rnnjax.indrnn(H, "tanh"), lengths=jnp.array([6, 4, 0]), resets=resets)
    assert report.passed


@pytest.mark.parametrize("gradient", [autodiff(), bptt()], ids=["autodiff", "bptt"])
def test_linear_unit_has_the_power_of_its_weight_for_a_jacobian(gradient):
    cell = rnnjax.indrnn(H, "identity")

    def last(h):
        carry = IndRNNCarry(h)
        return unroll(cell, PARAMS, XS[:, 0], carry=carry, gradient=gradient)[0].h

    want = np.diag(np.asarray(PARAMS.u) ** T)
    np.testing.assert_allclose(jax.jacrev(last)(H_0[0]), want, rtol=1e-12)


def test_linear_form_is_there_for_the_identity_alone_and_in_closed_form():
    assert rnnjax.indrnn(H).structure.linear is None
    linear = rnnjax.indrnn(H, "identity").structure.linear
    a, b = linear.coefficients(PARAMS, XS)
    assert a.h.shape == b.h.shape == (T, B, H)
    u = np.asarray(PARAMS.u)
    inputs = np.asarray(b.h)
    want = u**T * np.asarray(H_0) + sum(u ** (T - 1 - t) * inputs[t] for t in range(T))
    carry, _ = unroll(rnnjax.indrnn(H, "identity"), PARAMS, XS, carry=IndRNNCarry(H_0))
    np.testing.assert_allclose(carry.h, want, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(a.h, np.broadcast_to(u, (T, B, H)), rtol=0)


def test_recurrent_weights_start_uniform_between_the_bounds():
    high = 2 ** (1 / 10)
    params = rnnjax.indrnn(2000, recurrent_max=high).init(jax.random.key(0), D)
    assert params.u.min() >= 0
    assert params.u.max() < high
    np.testing.assert_allclose(params.u.mean(), high / 2, atol=0.03)
    np.testing.assert_allclose(params.u.std(), high / 12**0.5, atol=0.02)
    last = rnnjax.indrnn(500, recurrent_min=1 / high, recurrent_max=high)
    u = last.init(jax.random.key(1), D).u
    assert u.min() >= 1 / high
    assert u.max() < high


def test_is_not_offered_to_recurrent_dropout():
    with pytest.raises(ValueError, match="recurrent_dropout masks"):
        rnnjax.recurrent_dropout(rnnjax.indrnn(H), 0.3)


def test_weights_are_of_the_dtype_asked_for():
    cell = rnnjax.indrnn(H, dtype=jnp.bfloat16)
    params = cell.init(jax.random.key(0), D)
    carry, ys = unroll(cell, params, XS)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, carry, ys))} == {jnp.dtype("bfloat16")}


def step(x_t):
    return rnnjax.indrnn(H).step(PARAMS, IndRNNCarry(H_0), x_t)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: rnnjax.indrnn(0), ValueError, "hidden must be at least 1"),
        (lambda: rnnjax.indrnn(2.5), TypeError, "hidden must be an int"),
        (lambda: rnnjax.indrnn(H, "rleu"), ValueError, "did you mean 'relu'"),
        (lambda: rnnjax.indrnn(H, recurrent_min=2.0), ValueError, r"2\.0 > 1\.0"),
        (lambda: rnnjax.indrnn(H).init(jax.random.key(0), 0), ValueError, "input_size"),
        (lambda: rnnjax.indrnn(H).init(jax.random.key(0), (D, ())), TypeError, "input_size"),
        (lambda: unroll(rnnjax.indrnn(H), PARAMS, XS[..., :2]), ValueError, r"\[\.\.\., 3\]"),
        (lambda: unroll(rnnjax.indrnn(H), PARAMS, (XS, XS)), TypeError, "one array a step"),
        (lambda: step(jnp.ones((B, D), int)), TypeError, "Embed"),
    ],
)
def test_wrong_calls_say_what_is_wrong(call, error, match):
    with pytest.raises(error, match=match):
        call()
