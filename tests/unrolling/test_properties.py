"""Lengths, resets and shapes at random, against running each episode on its own."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import rnnjax
from rnnjax import unroll

T, B, D, H = 5, 2, 2, 3
CELL = rnnjax.lstm(H)
PARAMS = CELL.init(jax.random.key(0), D)
XS = jnp.asarray(np.random.default_rng(2).standard_normal((T, B, D)))
CARRY = jax.tree.map(lambda leaf: leaf + 0.3, CELL.initial_carry(PARAMS, (B,)))
STEP = jax.jit(CELL.step)


@functools.partial(jax.jit, static_argnums=0)
def run(reverse, xs, lengths, resets):
    return unroll(CELL, PARAMS, xs, carry=CARRY, lengths=lengths, resets=resets, reverse=reverse)


def episodes(length, resets):
    """The valid steps, cut where an episode begins."""
    cuts = [0, *(t for t in range(1, length) if resets[t]), length]
    return [range(a, b) for a, b in itertools.pairwise(cuts) if a < b]


def alone(b, length, resets, reverse):
    """One sequence by its episodes: all but the first to be run begin from nothing."""
    parts = episodes(length, resets)
    fresh = CELL.initial_carry(PARAMS, ())
    carry = jax.tree.map(lambda leaf: leaf[b], CARRY)
    ys = np.zeros((T, H))
    for index, part in enumerate(reversed(parts) if reverse else parts):
        if index or (not reverse and length and resets[0]):
            carry = fresh
        for t in reversed(part) if reverse else part:
            carry, ys[t] = STEP(PARAMS, carry, XS[t, b])
    return carry, ys


flags = st.lists(st.booleans(), min_size=T, max_size=T)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@given(lengths=st.tuples(*[st.integers(0, T)] * B), resets=st.tuples(flags, flags))
def test_episodes_run_alone(reverse, lengths, resets):
    resets = np.array(resets).T
    carry, ys = run(reverse, XS, jnp.array(lengths), jnp.asarray(resets))
    for b in range(B):
        want_carry, want = alone(b, lengths[b], resets[:, b], reverse)
        np.testing.assert_allclose(ys[:, b], want, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(carry.h[b], want_carry.h, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(carry.c[b], want_carry.c, rtol=1e-12, atol=1e-14)


@given(
    lengths=st.tuples(*[st.integers(0, T)] * B),
    padding=st.sampled_from([0.0, -1e30, np.inf, np.nan]),
)
def test_what_padding_holds_is_never_seen(lengths, padding):
    valid = np.arange(T)[:, None] < np.array(lengths)
    padded = jnp.where(valid[..., None], XS, padding)
    none = jnp.zeros((T, B), bool)
    want, got = (
        run(False, XS, jnp.array(lengths), none),
        run(False, padded, jnp.array(lengths), none),
    )
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert not np.asarray(got[1])[~valid].any()


@settings(max_examples=8)
@given(
    batch=st.lists(st.integers(0, 3), max_size=3).map(tuple),
    steps=st.integers(0, 3),
    features=st.integers(1, 3),
    flagged=st.booleans(),
)
def test_any_shape(batch, steps, features, flagged):
    cell = rnnjax.gru(H)
    params = cell.init(jax.random.key(1), features)
    options = {}
    if flagged:
        options = {
            "lengths": jnp.full(batch, steps, jnp.int32),
            "resets": jnp.zeros((steps, *batch), bool),
        }
    carry, ys = unroll(cell, params, jnp.ones((steps, *batch, features)), **options)
    assert ys.shape == (steps, *batch, H)
    assert carry.h.shape == (*batch, H)
    if ys.size:  # all examples are alike
        np.testing.assert_allclose(ys.reshape(steps, -1, H)[:, 0], ys.reshape(steps, -1, H)[:, -1])
        # XLA may compute a state twice, for the output and for the carry, with another rounding.
        np.testing.assert_allclose(carry.h, ys[-1], rtol=1e-14)


@given(cut=st.integers(0, T))
@settings(max_examples=6)
def test_halves_continue(cut):
    whole, ys = unroll(CELL, PARAMS, XS, carry=CARRY)
    middle, first = unroll(CELL, PARAMS, XS[:cut], carry=CARRY)
    last, second = unroll(CELL, PARAMS, XS[cut:], carry=middle)
    np.testing.assert_allclose(jnp.concatenate([first, second]), ys, rtol=1e-13)
    np.testing.assert_allclose(last.c, whole.c, rtol=1e-13)


def test_inputs_are_cast_to_the_dtype_of_the_params():
    for dtype in (jnp.float16, jnp.float32, jnp.bfloat16):
        ys = unroll(CELL, PARAMS, XS.astype(dtype))[1]
        assert ys.dtype == jnp.float64
        np.testing.assert_allclose(ys, unroll(CELL, PARAMS, XS)[1], atol=0.02)


def test_nan_in_valid_inputs_goes_on_and_stays_in_its_sequence():
    ys = unroll(CELL, PARAMS, XS.at[2, 1].set(jnp.nan))[1]
    assert np.isfinite(ys[:, 0]).all()
    assert np.isfinite(ys[:2, 1]).all()
    assert np.isnan(ys[2:, 1]).all()
