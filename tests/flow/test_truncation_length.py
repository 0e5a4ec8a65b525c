"""The length of a truncation, chosen by the decay of the gradient: its bias is under the bound."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, normal

import rnnjax
from rnnjax.flow import truncation_length
from rnnjax.gradients import error

pytestmark = pytest.mark.usefixtures("eager")
T = 12
CELL = rnnjax.lstm(3)
PARAMS = drawn(CELL, 2, 0.5)
XS = normal(1, T, 3, 2)
FLAGS = {"lengths": jnp.array([T, 7, 0]), "resets": np.arange(T)[:, None] == np.array([4, 3, 9])}


def cost(carry, ys):
    return jnp.sum(jnp.sin(ys)) + jnp.sum(carry.c**2)


def of_all(carry, ys):
    return jnp.sum(ys)


def real_bias(k, **options):
    return error(CELL, PARAMS, XS, cost, rnnjax.truncated_window(k), **options).rows[-1].relative


def test_with_all_lags_the_bounds_are_the_biases():
    found = truncation_length(CELL, PARAMS, XS, cost, bias=0.2, **FLAGS)
    for k in (1, 4):
        assert found.bounds[k - 1] == pytest.approx(real_bias(k, **FLAGS), rel=1e-8)
        assert found.bounds[k - 1] > 1e-3
    assert found.bounds[-1] == 0.0
    assert found.bounds[found.length - 1] <= 0.2 < found.bounds[found.length - 2]
    assert found.norms.shape == found.bounds.shape == (T,)


@pytest.mark.parametrize("given", [False, True])
def test_a_learned_carry_is_part_of_the_step_after_it(given):
    cell = rnnjax.learned_carry(CELL)
    params = jax.tree.map(lambda leaf: leaf + 0.3, cell.init(jax.random.key(0), 2))
    options = dict(FLAGS, carry=cell.initial_carry(params, (3,))) if given else FLAGS

    def grad(gradient):
        def value(params):
            return cost(*rnnjax.unroll(cell, params, XS, gradient=gradient, **options))

        leaves = jax.tree.leaves(jax.grad(value)(params))
        return np.concatenate([np.ravel(leaf) for leaf in leaves])

    found, exact = truncation_length(cell, params, XS, cost, **options), grad(None)
    for k in (1, 4):
        bias = np.linalg.norm(grad(rnnjax.truncated_window(k)) - exact) / np.linalg.norm(exact)
        assert found.bounds[k - 1] == pytest.approx(bias, rel=1e-8)


def test_with_fewer_lags_the_bias_is_under_the_bound():
    found = truncation_length(CELL, PARAMS, XS, cost, bias=0.2, lags=8)
    real = real_bias(found.length)
    assert 0.3 * found.bound < real < found.bound <= 0.2
    assert 1 < found.length < 8
    assert 0 < found.decay < 1
    assert found.gradient == rnnjax.truncated_window(found.length)
    text = rf"{found.length} steps: relative bias at most 0\.\d+; the gradient decays by a factor"
    assert re.match(text, str(found))


def leaky(rate):
    """h_t = rate h_{t-1} + w x_t, whose gradient shrinks by the rate with each lag."""

    def step(w, h, x_t):
        new = rate * h + x_t @ w
        return new, new

    return rnnjax.Cell(
        lambda key, inputs: jnp.ones((inputs, 1)), lambda w, shape: jnp.zeros((*shape, 1)), step
    )


@pytest.mark.parametrize("rate", [0.9, 1.0])
@pytest.mark.parametrize("lags", [None, 6])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lengths": jnp.array([T, 9])},
        {"resets": np.arange(T)[:, None] == np.array([2, 5])},
        {"mask": np.arange(T)[:, None] != np.array([4, 7])},
    ],
)
def test_the_beginning_of_the_sequence_is_no_decay(rate, lags, options):
    """Of a cost at every step: ever fewer of its errors have so many steps behind them."""
    xs, params = jnp.ones((T, 2, 1)), jnp.ones((1, 1))
    found = truncation_length(leaky(rate), params, xs, of_all, lags=lags, **options)
    assert found.decay == pytest.approx(rate, rel=1e-12)
    if rate == 1.0 and lags is None:
        assert re.match(r"\d+ steps: .* on these T = 12 steps; the gradient does not", str(found))
    if rate == 1.0 and lags == 6:
        assert (found.length, found.bound) == (None, np.inf)


def test_beyond_the_longest_episode_there_is_nothing():
    resets = np.arange(T)[:, None] % 5 == np.zeros(2)
    options = {"lags": 6, "resets": resets, "bias": 0.5}
    found = truncation_length(leaky(0.9), jnp.ones((1, 1)), jnp.ones((T, 2, 1)), of_all, **options)
    exact = truncation_length(
        leaky(0.9), jnp.ones((1, 1)), jnp.ones((T, 2, 1)), of_all, **{**options, "lags": None}
    )
    assert found.decay == pytest.approx(0.9)
    np.testing.assert_allclose(found.bounds, exact.bounds[:6], atol=1e-14)


def test_a_gradient_that_does_not_decay_has_no_length():
    cell = rnnjax.identity_rnn(2)
    params = drawn(cell, 2)
    xs = jnp.ones((T, 2))  # every lag adds the same
    found = truncation_length(cell, params, xs, lambda carry, ys: jnp.sum(ys[-1]), lags=6)
    assert found.length is found.gradient is None
    assert (found.decay, found.bound) == (pytest.approx(1.0), np.inf)
    assert str(found).startswith("no truncation to 6 steps or fewer keeps the relative bias under")
    assert "the gradient does not decay" in str(found)


def test_the_longest_truncation_is_one_step_shorter_than_the_sequence():
    cell = rnnjax.identity_rnn(2)
    params, xs = drawn(cell, 2), jnp.ones((5, 2))  # each of 5 lags adds a fifth
    found = truncation_length(cell, params, xs, lambda carry, ys: jnp.sum(ys[-1]))
    assert (found.length, found.bound) == (None, pytest.approx(0.2))
    assert found.bounds[-1] == 0
    text = "no truncation shorter than T = 5 keeps the relative bias under 0.1: the bound at T - 1 "
    assert str(found).startswith(f"{text}= 4 is 0.2, and the gradient does not decay")


def test_one_step_cannot_be_truncated():
    with jax.disable_jit(False):  # outside of programs JAX knows no loop of length zero
        found = truncation_length(CELL, PARAMS, XS[:1], cost)
    assert (found.length, found.bound) == (None, 0.0)
    assert np.isnan(found.decay)
    assert str(found) == "xs has T = 1 step: no truncation is shorter"


def test_of_one_lag_with_a_gradient_there_is_no_decay():
    """y_t = h_{t-1}: the cost of the last of two steps reaches the weights from step 1 alone."""

    def step(params, carry, x_t):
        return params * x_t, carry

    cell = rnnjax.Cell(
        lambda key, inputs: jnp.ones(()), lambda params, shape: jnp.zeros((*shape, 1)), step
    )
    found = truncation_length(cell, jnp.ones(()), jnp.ones((2, 1)), lambda carry, ys: ys[-1, 0])
    np.testing.assert_allclose(found.norms, [0, 1])
    assert np.isnan(found.decay)
    assert str(found).endswith("is 1, and too few lags have a gradient to say how it decays")


def test_a_gradient_that_is_cut_off():
    resets = jnp.arange(T) % 3 == 0  # nothing comes from more than two steps back
    found = truncation_length(CELL, PARAMS, XS[:, 0], cost, lags=8, resets=resets, bias=1e-9)
    assert (found.length, found.decay, found.bound) == (3, 0.0, pytest.approx(0, abs=1e-15))
    assert str(found).endswith("; no gradient comes from 3 or more steps back")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lags": 1}, r"lags must lie in 2\.\.12 \(T of xs\), got 1"),
        ({"lags": 13}, r"lags must lie in 2\.\.12 \(T of xs\), got 13"),
        ({"bias": 1.0}, r"bias must lie between 0 and 1, got 1\.0"),
        ({"cost": lambda carry, ys: jnp.sum(0 * ys)}, "gradient of the cost .* has norm 0.0"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        truncation_length(**{"cell": CELL, "params": PARAMS, "xs": XS, "cost": cost, **options})


def test_in_float32_and_with_keys_in_the_carry():
    cell = rnnjax.zoneout(rnnjax.gru(3), h=0.2)
    params = jax.tree.map(lambda w: w.astype(jnp.float32), drawn(cell, 2, 0.5))
    found = truncation_length(
        cell, params, XS[:5], lambda carry, ys: jnp.sum(ys**2), key=jax.random.key(0), lags=4
    )
    assert np.all(np.diff(found.norms) < 0)
