"""Clipping inside the backward loop, against BPTT written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import autodiff, bptt, checkpointed, truncated
from rnnjax.cells import LSTMParams, VanillaParams
from rnnjax.gradients import clip_by_norm, clip_by_value

pytestmark = pytest.mark.usefixtures("eager")

T, B, D, H = 6, 3, 2, 4
RNG = np.random.default_rng(1)
XS = RNG.standard_normal((T, B, D))
WEIGHTS = RNG.standard_normal((T, B, H))


def draw(cls, gates):
    shapes = ((D, gates * H), (H, gates * H), (gates * H,))
    return cls(*(jnp.asarray(RNG.standard_normal(shape)) for shape in shapes))


def by_value(limit):
    return lambda delta: np.clip(delta, -limit, limit)


def by_norm(limit):
    def clip(delta):
        norm = np.sqrt((delta**2).sum(-1, keepdims=True))
        return delta * np.minimum(1, limit / norm)

    return clip


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def vanilla_by_hand(params, clip):
    w_x, w_h, b = map(np.asarray, params)
    hs = [np.zeros((B, H))]
    for t in range(T):
        hs.append(np.tanh(XS[t] @ w_x + hs[-1] @ w_h + b))
    d_x, d_h, d_b, d_xs = np.zeros_like(w_x), np.zeros_like(w_h), np.zeros_like(b), []
    dh = np.zeros((B, H))
    for t in reversed(range(T)):
        delta = clip((dh + WEIGHTS[t]) * (1 - hs[t + 1] ** 2))
        d_x, d_h, d_b = d_x + XS[t].T @ delta, d_h + hs[t].T @ delta, d_b + delta.sum(0)
        d_xs.insert(0, delta @ w_x.T)
        dh = delta @ w_h.T
    return VanillaParams(d_x, d_h, d_b), np.array(d_xs)


def lstm_by_hand(params, clip):
    w_x, w_h, b = map(np.asarray, params)
    h, c, tape = np.zeros((B, H)), np.zeros((B, H)), []
    for t in range(T):
        i, f, g, o = np.split(XS[t] @ w_x + h @ w_h + b, 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        new = f * c + i * g
        tape.append((i, f, g, o, h, c, new))
        h, c = o * np.tanh(new), new
    d_x, d_h, d_b, d_xs = np.zeros_like(w_x), np.zeros_like(w_h), np.zeros_like(b), []
    dh, dc = np.zeros((B, H)), np.zeros((B, H))
    for t in reversed(range(T)):
        i, f, g, o, h, c, new = tape[t]
        dh = dh + WEIGHTS[t]
        dc = dc + dh * o * (1 - np.tanh(new) ** 2)
        through = [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2)]
        delta = clip(np.concatenate([*through, dh * np.tanh(new) * o * (1 - o)], -1))
        d_x, d_h, d_b = d_x + XS[t].T @ delta, d_h + h.T @ delta, d_b + delta.sum(0)
        d_xs.insert(0, delta @ w_x.T)
        dh, dc = delta @ w_h.T, dc * f
    return LSTMParams(d_x, d_h, d_b), np.array(d_xs)


CELLS = {
    "vanilla": (rnnjax.vanilla(H), draw(VanillaParams, 1), vanilla_by_hand),
    "lstm": (rnnjax.lstm(H), draw(LSTMParams, 4), lstm_by_hand),
}
LIMIT = 0.3


def gradient(cell, params, how):
    def cost(params, xs):
        return jnp.sum(WEIGHTS * rnnjax.unroll(cell, params, xs, gradient=how)[1])

    return jax.jit(jax.grad(cost, (0, 1)))(params, jnp.asarray(XS))


def assert_close(got, want):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("clip", "by_hand"),
    [
        (clip_by_value(LIMIT), by_value(LIMIT)),
        (clip_by_norm(LIMIT), by_norm(LIMIT)),
        (None, lambda delta: delta),
    ],
    ids=["value", "norm", "none"],
)
@pytest.mark.parametrize("name", CELLS)
def test_clipped_bptt_by_hand(name, clip, by_hand):
    cell, params, loop = CELLS[name]
    got = gradient(cell, params, bptt(clip=clip))
    assert_close(got, loop(params, by_hand))
    if clip is not None:
        unclipped = gradient(cell, params, bptt())
        assert np.abs(got[0].w_h - unclipped[0].w_h).max() > 1e-2


@pytest.mark.parametrize("clip", [clip_by_value, clip_by_norm])
@pytest.mark.parametrize("name", CELLS)
def test_a_large_limit_clips_nothing(name, clip):
    cell, params, _ = CELLS[name]
    clipped = gradient(cell, params, bptt(clip=clip(1e6)))
    assert_close(clipped, gradient(cell, params, bptt()))
    assert_close(clipped, gradient(cell, params, autodiff()))


def test_clips_on_their_own():
    delta = jnp.array([[3.0, -4.0], [0.3, 0.4], [0.0, 0.0]])
    np.testing.assert_array_equal(clip_by_value(1.0)(delta), [[1, -1], [0.3, 0.4], [0, 0]])
    np.testing.assert_allclose(
        clip_by_norm(1.0)(delta), [[0.6, -0.8], [0.3, 0.4], [0, 0]], rtol=1e-14
    )
    assert clip_by_norm(1.0)(delta.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    slope = jax.grad(lambda d: jnp.sum(clip_by_norm(1.0)(d)))(delta)
    assert np.isfinite(slope).all()  # at zero as well


def test_clips_reach_every_cell_of_a_stack():
    stack = rnnjax.stack(rnnjax.lstm(H), rnnjax.gru(H, reset="before"), rnnjax.gru(H))
    params = stack.init(jax.random.key(0), D)
    clipped = gradient(stack, params, bptt(clip=clip_by_value(1e-3)))
    free = gradient(stack, params, bptt())
    for a, b in zip(clipped[0], free[0], strict=True):
        assert np.abs(a.b).max() <= T * B * 1e-3 < np.abs(b.b).max()


@pytest.mark.parametrize("clip", [clip_by_value, clip_by_norm])
@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_limits_are_positive(clip, limit):
    with pytest.raises(ValueError, match=r"limit must be (positive|a real number)"):
        clip(limit)


def test_equal_clips_compile_once():
    assert clip_by_value(0.5) == clip_by_value(0.5)
    assert hash(bptt(clip=clip_by_norm(2.0))) == hash(bptt(clip=clip_by_norm(2.0)))
    assert bptt(clip=clip_by_value(0.5)) != bptt(clip=clip_by_value(0.6))


@pytest.mark.parametrize("clip", [clip_by_value, clip_by_norm])
@pytest.mark.parametrize(
    "wrap", [lambda base: base, lambda base: truncated(4, checkpointed(2, base))]
)
def test_a_limit_may_be_mapped(clip, wrap):
    cell, params, _ = CELLS["vanilla"]
    limits = jnp.array([0.1, 0.3])
    got = jax.vmap(lambda limit: gradient(cell, params, wrap(bptt(clip(limit)))))(limits)
    each = [gradient(cell, params, wrap(bptt(clip(limit)))) for limit in (0.1, 0.3)]
    assert np.abs(each[0][0].w_h - each[1][0].w_h).max() > 1e-2
    assert_close(got, jax.tree.map(lambda *leaves: np.stack(leaves), *each))


@pytest.mark.parametrize(
    ("clip", "returned"),
    [
        (lambda delta: delta.astype(jnp.float16), r"float16\[3, 4\]"),
        (lambda delta: delta[..., :2], r"float64\[3, 2\]"),
        (lambda delta: None, "None"),
    ],
    ids=["dtype", "shape", "nothing"],
)
def test_a_clip_keeps_shape_and_dtype(clip, returned):
    cell, params, _ = CELLS["vanilla"]
    with pytest.raises(ValueError, match=rf"δ_t of type float64\[3, 4\] and returned {returned}:"):
        gradient(cell, params, bptt(clip))


@pytest.mark.parametrize("clip", [clip_by_value, clip_by_norm])
def test_a_limit_is_one_number(clip):
    with pytest.raises(ValueError, match=r"one number, got shape \(2,\)"):
        clip(jnp.ones(2))
    assert clip(jnp.asarray(0.5)) == clip(np.float32(0.5)) == clip(0.5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_norms_whose_squares_are_beyond_float16(dtype):
    delta = jnp.array([[300.0, 400.0], [3.0, 4.0]], dtype)
    clipped = clip_by_norm(10.0)(delta)
    assert clipped.dtype == dtype
    np.testing.assert_allclose(clipped.astype(float), [[6.0, 8.0], [3.0, 4.0]], rtol=1e-2)
