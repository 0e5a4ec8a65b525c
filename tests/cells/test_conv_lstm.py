"""The convolutional LSTM against its equations pixel by pixel, the LSTM, SciPy and Flax."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import correlate

import rnnjax
from rnnjax import autodiff, bptt, unroll
from rnnjax.cells import ConvLSTMCarry, ConvLSTMParams, LSTMCarry, LSTMParams
from rnnjax.cells.linear_algebra import convolve, convolve_back, sum_convolved
from rnnjax.gradients import check, clip_by_value

T, B, C, F = 4, 2, 3, 2
SIZE = (4, 5)
KERNELS = [(3, 3), (2, 4), (1, 1), (3, 7)]  # odd, even, one pixel, wider than the image
RNG = np.random.default_rng(0)


def arrays(*shapes):
    return [jnp.asarray(0.5 * RNG.standard_normal(shape)) for shape in shapes]


def params_for(kernel):
    return ConvLSTMParams(*arrays((*kernel, C, 4 * F), (*kernel, F, 4 * F), (4 * F,)))


PARAMS = params_for((3, 3))
(XS,) = arrays((T, B, *SIZE, C))
CARRY = ConvLSTMCarry(*arrays((B, *SIZE, F), (B, *SIZE, F)))
CELL = rnnjax.conv_lstm(F, SIZE)


def assert_close(got, want, rtol=1e-12):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-13)


def cost(carry, ys):
    return jnp.sum(jnp.sin(ys)) + jnp.sum(carry.c**2) + jnp.sum(carry.h)


def padded(x, kernel):
    """x with zeros around its height and width, one less before than after for even kernels."""
    before = [(k - 1) // 2 for k in kernel]
    after = [k // 2 for k in kernel]
    return np.pad(x, [(0, 0)] * (x.ndim - 3) + [*zip(before, after, strict=True), (0, 0)])


def by_pixel(x, w):
    """The convolution, one pixel at a time."""
    kh, kw, _, outputs = w.shape
    y, wide = np.zeros((*x.shape[:-1], outputs)), padded(x, (kh, kw))
    for row, column in np.ndindex(*x.shape[-3:-1]):
        window = wide[..., row : row + kh, column : column + kw, :]
        y[..., row, column, :] = np.einsum("...ijc,ijcg->...g", window, w)
    return y


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_equations_in_numpy(kernel):
    params = params_for(kernel)
    w_x, w_h, b = map(np.asarray, params)
    h, c = map(np.asarray, CARRY)
    want = []
    for x in np.asarray(XS):
        z = by_pixel(x, w_x) + by_pixel(h, w_h) + b
        i, f, g, o = (z[..., k * F : (k + 1) * F] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        want.append(h)
    carry, ys = unroll(rnnjax.conv_lstm(F, SIZE, kernel), params, XS, carry=CARRY)
    assert_close(ys, np.stack(want))
    assert_close(carry, (h, c))


@pytest.mark.parametrize("kernel", [(3, 3), (1, 5)], ids=str)
def test_convolution_is_scipys_correlation(kernel):
    x, w = map(np.asarray, arrays((*SIZE, C), (*kernel, C, F)))
    want = np.zeros((*SIZE, F))
    for channel, feature in np.ndindex(C, F):
        want[..., feature] += correlate(x[..., channel], w[..., channel, feature], mode="constant")
    assert_close(convolve(jnp.asarray(x), jnp.asarray(w)), want)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_gradients_of_a_convolution_are_its_transposes(kernel):
    xs, w, deltas = arrays((T, B, *SIZE, C), (*kernel, C, F), (T, B, *SIZE, F))
    flat, errors = np.asarray(xs), np.asarray(deltas)
    dw, wide = np.zeros(w.shape), padded(flat, kernel)
    dx = np.zeros(wide.shape)
    for row, column in np.ndindex(*kernel):
        here = ..., slice(row, row + SIZE[0]), slice(column, column + SIZE[1]), slice(None)
        dw[row, column] = np.einsum("tbhwc,tbhwg->cg", wide[here], errors)
        dx[here] += errors @ np.asarray(w)[row, column].T
    top, left = ((k - 1) // 2 for k in kernel)
    dx = dx[..., top : top + SIZE[0], left : left + SIZE[1], :]
    assert_close(sum_convolved(xs, deltas, kernel), dw)
    assert_close(convolve_back(deltas, w), dx)


@pytest.mark.parametrize("clip", [None, clip_by_value(0.1)], ids=["whole", "clipped"])
def test_on_one_pixel_with_a_kernel_of_one_is_the_lstm(clip):
    params = params_for((1, 1))
    plain = LSTMParams(params.w_x[0, 0], params.w_h[0, 0], params.b)
    xs, h, c = arrays((T, B, C), (B, F), (B, F))

    def one_pixel(a):
        return a[..., None, None, :]

    def value(params, xs, carry):
        cell = rnnjax.conv_lstm(F, (1, 1), (1, 1))
        return cost(*unroll(cell, params, xs, carry=carry, gradient=bptt(clip)))

    def plain_value(params, xs, carry):
        method = rnnjax.sequential()
        options = {"carry": carry, "gradient": bptt(clip), "method": method}
        return cost(*unroll(rnnjax.lstm(F), params, xs, **options))

    got, (params_ct, xs_ct, carry_ct) = jax.value_and_grad(value, (0, 1, 2))(
        params, one_pixel(xs), ConvLSTMCarry(one_pixel(h), one_pixel(c))
    )
    want, (plain_ct, want_xs, want_carry) = jax.value_and_grad(plain_value, (0, 1, 2))(
        plain, xs, LSTMCarry(h, c)
    )
    assert_close(got, want)
    assert_close((params_ct.w_x[0, 0], params_ct.w_h[0, 0], params_ct.b), tuple(plain_ct))
    assert_close(xs_ct[..., 0, 0, :], want_xs)
    assert_close((carry_ct.h[..., 0, 0, :], carry_ct.c[..., 0, 0, :]), tuple(want_carry))


def test_a_kernel_of_one_runs_an_lstm_at_every_pixel():
    params = params_for((1, 1))
    plain = LSTMParams(params.w_x[0, 0], params.w_h[0, 0], params.b)
    carry, ys = unroll(rnnjax.conv_lstm(F, SIZE, (1, 1)), params, XS, carry=CARRY)
    want = unroll(rnnjax.lstm(F), plain, XS, carry=LSTMCarry(*CARRY))  # pixels for a batch
    assert_close((tuple(carry), ys), (tuple(want[0]), want[1]))


def flax_gates(w, shift=0.0):
    """Ours i, f, g, o to Flax's i, g, f, o, whose forget gate adds 1 to its pre-activation."""
    i, f, g, o = jnp.split(w, 4, axis=-1)
    return jnp.concatenate([i, g, f - shift, o], axis=-1)


@pytest.mark.parametrize("kernel", [(3, 3), (2, 4)], ids=str)
def test_values_and_gradients_are_flaxs(kernel):
    params = params_for(kernel)
    peer = flax.linen.ConvLSTMCell(F, kernel, param_dtype=jnp.float64)

    def flax_value(params, xs, carry):
        weights = {
            "ih": {"kernel": flax_gates(params.w_x), "bias": flax_gates(params.b, 1.0)},
            "hh": {"kernel": flax_gates(params.w_h), "bias": jnp.zeros(4 * F)},
        }
        state, ys = (carry.c, carry.h), []
        for x_t in xs:
            state, y_t = peer.apply({"params": weights}, state, x_t)
            ys.append(y_t)
        c, h = state
        return cost(ConvLSTMCarry(h, c), jnp.stack(ys))

    def value(params, xs, carry):
        cell = rnnjax.conv_lstm(F, SIZE, kernel)
        return cost(*unroll(cell, params, xs, carry=carry, gradient=bptt()))

    point = params, XS, CARRY
    assert_close(
        jax.value_and_grad(value, (0, 1, 2))(*point),
        jax.value_and_grad(flax_value, (0, 1, 2))(*point),
    )


@pytest.mark.parametrize("kernel", [(3, 3), (2, 4)], ids=str)
def test_rule_is_right(kernel):
    report = check(rnnjax.conv_lstm(F, SIZE, kernel), inputs=(*SIZE, C))
    assert report.passed, str(report)


def test_rule_is_right_with_lengths_and_resets():
    resets = jnp.zeros((6, 3), bool).at[2, 0].set(True).at[0, 1].set(True)
    lengths = jnp.array([6, 4, 0])
    assert check(CELL, inputs=(*SIZE, C), lengths=lengths, resets=resets).passed


def test_frozen_examples_keep_their_state_exactly():
    lengths = jnp.array([2, 0])
    carry, ys = unroll(CELL, PARAMS, XS, carry=CARRY, lengths=lengths)
    np.testing.assert_array_equal(carry.h[0], ys[1, 0])
    np.testing.assert_array_equal(carry.h[1], CARRY.h[1])
    np.testing.assert_array_equal(carry.c[1], CARRY.c[1])
    np.testing.assert_array_equal(ys[2:], np.zeros((T - 2, B, *SIZE, F)))
    np.testing.assert_array_equal(ys[:, 1], np.zeros((T, *SIZE, F)))
    short, want = unroll(CELL, PARAMS, XS[:2], carry=CARRY)
    assert_close((ys[:2, 0], carry.c[0]), (want[:, 0], short.c[0]))
    padding = (jnp.arange(T)[:, None] >= lengths[None, :]).reshape(T, B, 1, 1, 1)
    again = unroll(CELL, PARAMS, jnp.where(padding, jnp.nan, XS), carry=CARRY, lengths=lengths)
    jax.tree.map(np.testing.assert_array_equal, again, (carry, ys))


def test_any_batch_dimensions():
    xs = jnp.stack([XS, 2 * XS], axis=1)  # [T, 2, B, height, width, C]
    two = unroll(CELL, PARAMS, xs)[1]
    assert_close(two[:, 0], unroll(CELL, PARAMS, XS)[1])
    assert_close(two[:, 1, 0], unroll(CELL, PARAMS, 2 * XS[:, 0])[1])


@pytest.mark.parametrize("gradient", [autodiff(), bptt()], ids=["autodiff", "bptt"])
@pytest.mark.parametrize("leading", [(0,), (0, 2), (3, 0)], ids=str)
def test_no_steps_and_no_examples(leading, gradient):
    xs = jnp.zeros((*leading, *SIZE, C))

    def value(params, xs):
        carry, ys = unroll(CELL, params, xs, gradient=gradient)
        assert ys.shape == (*leading, *SIZE, F)
        return cost(carry, ys)

    params_ct, xs_ct = jax.grad(value, (0, 1))(PARAMS, xs)
    assert xs_ct.shape == xs.shape
    for leaf in params_ct:
        np.testing.assert_array_equal(leaf, np.zeros_like(leaf))


def test_the_same_params_run_on_images_of_another_size():
    small = jnp.pad(XS, ((0, 0), (0, 0), (3, 3), (4, 4), (0, 0)))[:, :, 3:7, 4:9]
    wide = rnnjax.conv_lstm(F, (6, 9))
    ys = unroll(wide, PARAMS, jnp.zeros((1, 6, 9, C)).at[:, 1:5, 2:7].set(small[:1, 0]))[1]
    inside = unroll(CELL, PARAMS, XS[:1, 0])[1]  # one step: the zero state beyond makes none
    assert_close(ys[:, 1:5, 2:7], inside)


def test_stacks_and_masks_as_the_lstm_does():
    cell = rnnjax.stack(rnnjax.recurrent_dropout(CELL, 0.3), rnnjax.conv_lstm(3, SIZE, (1, 1)))
    params = cell.init(jax.random.key(0), (*SIZE, C))
    _, ys = unroll(cell, params, XS, key=jax.random.key(1))
    assert ys.shape == (T, B, *SIZE, 3)
    assert np.abs(ys - unroll(cell, params, XS)[1]).max() > 1e-3


def test_initial_weights():
    params = rnnjax.conv_lstm(8, SIZE, forget_bias=2.0).init(jax.random.key(0), (*SIZE, C))
    np.testing.assert_array_equal(
        params.b.reshape(4, 8), np.array([0, 2.0, 0, 0])[:, None] + np.zeros(8)
    )
    for block in np.split(np.asarray(params.w_h), 4, axis=-1):
        matrix = block.reshape(-1, 8)
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(8), atol=1e-12)
    bound = (6 / (9 * C + 9 * 8)) ** 0.5
    assert 0.9 * bound < np.abs(params.w_x).max() < bound


def test_weights_are_of_the_dtype_asked_for():
    cell = rnnjax.conv_lstm(F, SIZE, dtype=jnp.bfloat16)
    params = cell.init(jax.random.key(0), (*SIZE, C))
    by_rule = jax.grad(lambda p: unroll(cell, p, XS, gradient=bptt())[1].sum())(params)
    leaves = jax.tree.leaves((params, unroll(cell, params, XS), by_rule))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: rnnjax.conv_lstm(0, SIZE), ValueError, "features must be at least 1"),
        (lambda: rnnjax.conv_lstm(F, 4), TypeError, "size must be a pair of ints"),
        (lambda: rnnjax.conv_lstm(F, (4, 0)), ValueError, r"size\[1\] must be at least 1"),
        (lambda: rnnjax.conv_lstm(F, SIZE, 3), TypeError, "kernel must be a pair of ints"),
        (lambda: rnnjax.conv_lstm(F, SIZE, (3, 2.5)), TypeError, r"kernel\[1\]"),
        (lambda: CELL.init(jax.random.key(0), C), ValueError, r"here \(4, 5, C\)"),
        (lambda: CELL.init(jax.random.key(0), (4, 6, C)), ValueError, r"of size \(4, 5\), got"),
        (lambda: CELL.init(jax.random.key(0), (*SIZE, 0)), ValueError, "channels must be at"),
        (lambda: unroll(CELL, PARAMS, XS[..., :2]), ValueError, r"images \[\.\.\., 4, 5, 3\]"),
        (lambda: unroll(CELL, PARAMS, XS[:, :, :3]), ValueError, r"images \[\.\.\., 4, 5, 3\]"),
        (lambda: unroll(CELL, PARAMS, XS[0, 0]), ValueError, r"\[T, \.\.\., D1, D2, D3\]"),
        (lambda: CELL.step(PARAMS, CARRY, XS[0] > 0), TypeError, "Cast pixels"),
        (lambda: unroll(CELL, PARAMS, (XS, XS)), TypeError, "one array a step, got a tuple"),
        (lambda: CELL.step(PARAMS, CARRY, {"x": XS[0]}), TypeError, "got a dict"),
    ],
)
def test_wrong_calls_say_what_is_wrong(call, error, match):
    with pytest.raises(error, match=match):
        call()
