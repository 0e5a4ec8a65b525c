"""What each cell reduces to, exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import autodiff, bptt, unroll
from rnnjax.cells import (
    GRUCarry,
    GRUParams,
    IdentityCarry,
    LSTM1997Params,
    LSTMCarry,
    LSTMParams,
    VanillaCarry,
    VanillaParams,
)

pytestmark = pytest.mark.usefixtures("eager")

T, B, D, H = 6, 2, 3, 4
RNG = np.random.default_rng(0)
XS = jnp.asarray(RNG.standard_normal((T, B, D)))


def arrays(*shapes):
    return [jnp.asarray(0.5 * RNG.standard_normal(shape)) for shape in shapes]


@pytest.mark.parametrize("gradient", [autodiff(), bptt()], ids=["autodiff", "bptt"])
def test_identity_rnn_has_the_identity_for_a_jacobian(gradient):
    cell = rnnjax.identity_rnn(H)
    params = cell.init(jax.random.key(0), D)

    def last(h):
        return unroll(cell, params, XS[:, 0], carry=IdentityCarry(h), gradient=gradient)[0].h

    np.testing.assert_array_equal(jax.jacrev(last)(jnp.ones(H)), np.eye(H))


@pytest.mark.parametrize("gradient", [autodiff(), bptt()], ids=["autodiff", "bptt"])
def test_truncated_lstm_1997_is_a_constant_error_carousel(gradient):
    cell = rnnjax.lstm_1997(H, truncate=True)
    params = LSTM1997Params(*arrays((D, 3 * H), (H, 3 * H), (3 * H,)))
    h, c = arrays((H,), (H,))

    def last_c(carry):
        return unroll(cell, params, XS[:, 0], carry=carry, gradient=gradient)[0].c

    by_carry = jax.jacrev(last_c)(LSTMCarry(h, c))
    np.testing.assert_array_equal(by_carry.c, np.eye(H))  # ∂c_T/∂c_0, so each ∂c_t/∂c_{t-1}
    np.testing.assert_array_equal(by_carry.h, np.zeros((H, H)))
    whole = rnnjax.lstm_1997(H)
    leaking = jax.jacrev(lambda c: unroll(whole, params, XS[:, 0], carry=LSTMCarry(h, c))[0].c)(c)
    assert np.abs(leaking - np.eye(H)).max() > 1e-2


def test_truncation_changes_no_value():
    params = LSTM1997Params(*arrays((D, 3 * H), (H, 3 * H), (3 * H,)))
    cut, whole = (
        unroll(rnnjax.lstm_1997(H, truncate=truncate), params, XS, method=rnnjax.sequential())
        for truncate in (True, False)
    )
    jax.tree.map(np.testing.assert_array_equal, cut, whole)


def test_lstm_with_an_open_forget_gate_is_lstm_1997():
    w_x, w_h, b = arrays((D, 3 * H), (H, 3 * H), (3 * H,))

    def with_forget(w, fill):
        """i, g, o -> i, f, g, o."""
        return jnp.concatenate([w[..., :H], jnp.full_like(w[..., :H], fill), w[..., H:]], -1)

    params = LSTMParams(with_forget(w_x, 0), with_forget(w_h, 0), with_forget(b, 1e3))
    old = LSTM1997Params(w_x, w_h, b)

    def cost(cell):
        def value(params, xs):
            carry, ys = unroll(cell, params, xs)
            return jnp.sum(jnp.sin(ys)) + jnp.sum(carry.c**2)

        return jax.value_and_grad(value, (0, 1))

    value, (params_ct, xs_ct) = cost(rnnjax.lstm(H))(params, XS)
    want, (old_ct, want_xs) = cost(rnnjax.lstm_1997(H))(old, XS)
    np.testing.assert_allclose(value, want, rtol=1e-14)
    np.testing.assert_allclose(xs_ct, want_xs, rtol=1e-12, atol=1e-14)
    for got, expected in zip(params_ct, old_ct, strict=True):
        i, f, g, o = np.split(np.asarray(got), 4, axis=-1)
        assert not f.any()
        np.testing.assert_allclose(np.concatenate([i, g, o], -1), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("reset", ["before", "after"])
def test_gru_with_an_open_update_gate_keeps_h(reset):
    w_x, w_h, b, b_hn = arrays((D, 3 * H), (H, 3 * H), (3 * H,), (H,))
    params = GRUParams(w_x, w_h, b.at[H : 2 * H].set(1e3), b_hn if reset == "after" else None)
    cell = rnnjax.gru(H, reset=reset)
    (h,) = arrays((H,))

    def run(h):
        return unroll(cell, params, XS[:, 0], carry=GRUCarry(h))

    carry, ys = run(h)
    np.testing.assert_array_equal(carry.h, h)
    np.testing.assert_array_equal(ys, np.broadcast_to(h, (T, H)))
    np.testing.assert_array_equal(jax.jacrev(lambda h: run(h)[0].h)(h), np.eye(H))


def test_gru_with_closed_update_and_open_reset_gate_is_vanilla():
    w_x, w_h, b, b_hn = arrays((D, 3 * H), (H, 3 * H), (3 * H,), (H,))
    b = b.at[:H].set(1e3).at[H : 2 * H].set(-1e3)
    of_n = slice(2 * H, None)
    plain = VanillaParams(w_x[:, of_n], w_h[:, of_n], b[of_n] + b_hn)
    want = unroll(rnnjax.vanilla(H), plain, XS)[1]
    np.testing.assert_allclose(
        unroll(rnnjax.gru(H), GRUParams(w_x, w_h, b, b_hn), XS)[1], want, rtol=1e-13, atol=1e-14
    )
    plain = plain._replace(b=b[of_n])
    want = unroll(rnnjax.vanilla(H), plain, XS)[1]
    before = rnnjax.gru(H, reset="before")
    np.testing.assert_allclose(
        unroll(before, GRUParams(w_x, w_h, b, None), XS)[1], want, rtol=1e-13, atol=1e-14
    )


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_irnn_at_init_adds_up_positive_inputs(scale):
    cell = rnnjax.irnn(H, scale)
    params = cell.init(jax.random.key(0), D)
    np.testing.assert_array_equal(params.w_h, scale * np.eye(H))
    np.testing.assert_array_equal(params.b, np.zeros(H))
    positive = params._replace(w_x=jnp.abs(params.w_x))
    xs = jnp.abs(XS)
    ys = unroll(cell, positive, xs)[1]
    h = np.zeros((B, H))
    for t in range(T):
        h = scale * h + np.asarray(xs[t] @ positive.w_x)
        np.testing.assert_allclose(ys[t], h, rtol=1e-13)
    if scale == 1.0:
        same = unroll(rnnjax.identity_rnn(H), rnnjax.cells.IdentityParams(positive.w_x), xs)[1]
        np.testing.assert_allclose(ys, same, rtol=1e-13)

    def last(h):
        return unroll(cell, positive, xs[:, 0], carry=VanillaCarry(h))[0].h

    np.testing.assert_allclose(jax.jacrev(last)(jnp.ones(H)), scale**T * np.eye(H), rtol=1e-14)


def test_linear_vanilla_cell_is_a_matrix_power():
    cell = rnnjax.vanilla(H, "identity")
    params = VanillaParams(*arrays((D, H), (H, H), (H,)))

    def last(h):
        return unroll(cell, params, XS[:, 0], carry=VanillaCarry(h))[0].h

    jacobian = jax.jacrev(last)(jnp.ones(H))
    want = np.linalg.matrix_power(np.asarray(params.w_h), T).T  # row vectors: h_T = h_0 Wᵀ…
    np.testing.assert_allclose(jacobian, want, rtol=1e-11, atol=1e-14)


def test_lstm_equations_in_numpy():
    cell = rnnjax.lstm(H)
    params = LSTMParams(*arrays((D, 4 * H), (H, 4 * H), (4 * H,)))
    w_x, w_h, b = map(np.asarray, params)

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    h, c = np.zeros((B, H)), np.zeros((B, H))
    for x in np.asarray(XS):
        z_i, z_f, z_g, z_o = np.split(x @ w_x + h @ w_h + b, 4, axis=-1)
        c = sigmoid(z_f) * c + sigmoid(z_i) * np.tanh(z_g)
        h = sigmoid(z_o) * np.tanh(c)
    carry, ys = unroll(cell, params, XS)
    np.testing.assert_allclose(carry.h, h, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(carry.c, c, rtol=1e-13, atol=1e-15)
    np.testing.assert_array_equal(ys[-1], carry.h)


def test_zoneout_and_dropout_at_rate_zero_change_nothing():
    cell = rnnjax.lstm(H)
    params = cell.init(jax.random.key(1), D)
    want = unroll(cell, params, XS)[1]
    for changed in (
        rnnjax.zoneout(cell, h=0.0, c=0.0),
        rnnjax.input_dropout(cell, 0.0),
        rnnjax.input_dropout(cell, 0.0, same_mask=True),
        rnnjax.recurrent_dropout(cell, 0.0),
    ):
        for key in (None, jax.random.key(0)):
            np.testing.assert_allclose(
                unroll(changed, params, XS, key=key)[1], want, rtol=1e-14, atol=1e-15
            )


def test_initial_biases():
    lstm = rnnjax.lstm(H, forget_bias=2.5).init(jax.random.key(0), D)
    np.testing.assert_array_equal(lstm.b, [0] * H + [2.5] * H + [0] * 2 * H)
    old = rnnjax.lstm_1997(H, output_bias=-2.0).init(jax.random.key(0), D)
    np.testing.assert_array_equal(old.b, [0] * 2 * H + [-2.0] * H)
    gru = rnnjax.gru(H).init(jax.random.key(0), D)
    assert not np.any(gru.b)
    assert not np.any(gru.b_hn)
    assert rnnjax.gru(H, reset="before").init(jax.random.key(0), D).b_hn is None
