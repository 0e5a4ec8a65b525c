"""Norms of the signal, and the half-lives and verdicts that are read off them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, recorded

import rnnjax
from rnnjax.cells import GRUCarry, LSTMCarry
from rnnjax.flow import Recording, gradient_norms, half_life, verdict

pytestmark = pytest.mark.usefixtures("eager")

T, B, H = 7, 2, 3


def random_carry(seed=0):
    rng = np.random.default_rng(seed)
    return LSTMCarry(*(jnp.asarray(rng.standard_normal((T, B, H))) for _ in range(2)))


def test_norms_of_the_whole_carry_and_of_a_field():
    carry_ct = random_carry()
    h2, c2 = (np.asarray(leaf**2).sum(-1) for leaf in carry_ct)
    np.testing.assert_allclose(gradient_norms(carry_ct), np.sqrt(h2 + c2), rtol=1e-14)
    np.testing.assert_allclose(gradient_norms(carry_ct, "c"), np.sqrt(c2), rtol=1e-14)
    stacked = (carry_ct, GRUCarry(2 * carry_ct.c), None)
    np.testing.assert_allclose(gradient_norms(stacked, "h"), np.sqrt(h2 + 4 * c2), rtol=1e-14)


def test_norms_where_squares_would_underflow_or_overflow():
    for size in (1e-300, 1e300):
        carry_ct = GRUCarry(jnp.full((T, B, 4), size))
        np.testing.assert_allclose(gradient_norms(carry_ct), 2 * size, rtol=1e-14)
    assert np.all(gradient_norms(GRUCarry(jnp.zeros((T, B, 4)))) == 0)


def test_a_matrix_memory_beside_a_vector():
    memory = {"h": jnp.ones((T, B, 4)), "memory": jnp.full((T, B, 4, 4), 2.0)}
    found = Recording(jnp.zeros(()), memory, 1)
    np.testing.assert_allclose(gradient_norms(found), np.full((T, B), 68**0.5), rtol=1e-14)
    np.testing.assert_allclose(gradient_norms(found, "memory"), np.full((T, B), 8.0), rtol=1e-14)
    np.testing.assert_allclose(jax.jit(gradient_norms)(found), gradient_norms(found), rtol=1e-14)
    for leaf in (None, "memory"):  # [T, B, 4, 4] might be two batch axes
        with pytest.raises(ValueError, match=r"\(7, 2, 4\), \(7, 2, 4, 4\): .*pass the Recording"):
            gradient_norms(memory, leaf)


def test_norm_errors():
    with pytest.raises(ValueError, match=r"got 'x': its differentiable leaves are \.h, \.c"):
        gradient_norms(random_carry(), "x")
    with pytest.raises(ValueError, match="agree in"):
        gradient_norms((jnp.ones((3, 2)), jnp.ones((4, 2))))
    with pytest.raises(ValueError, match="no real or complex leaf"):
        gradient_norms((None,))


def decaying(rate, steps=50):
    """‖∂C/∂h_t‖ = e^(-rate (T - t))"""
    return jnp.exp(-rate * jnp.arange(steps - 1, -1, -1))


def test_half_life_of_an_exponential():
    np.testing.assert_allclose(half_life(decaying(0.1)), np.log(2) / 0.1, rtol=1e-12)
    np.testing.assert_allclose(half_life(decaying(-0.1)), -np.log(2) / 0.1, rtol=1e-12)
    both = jnp.stack([3 * decaying(0.5), jnp.full(50, 1e-5), decaying(-0.25)], axis=1)
    np.testing.assert_allclose(
        half_life(both), [np.log(2) / 0.5, np.inf, -np.log(2) / 0.25], rtol=1e-12
    )


def test_half_life_is_the_least_squares_fit():
    rng = np.random.default_rng(0)
    norms = np.exp(rng.standard_normal((30, 2)) - 0.2 * np.arange(30)[::-1, None])
    lags = np.arange(30)[::-1]
    slopes = [np.polyfit(lags, np.log(norms[:, b]), 1)[0] for b in range(2)]
    np.testing.assert_allclose(half_life(jnp.asarray(norms)), -np.log(2) / slopes, rtol=1e-11)


def test_half_life_leaves_padding_and_overflow_out():
    norms = decaying(0.3).at[40:].set(0).at[2].set(jnp.inf).at[5].set(jnp.nan)
    np.testing.assert_allclose(half_life(norms), np.log(2) / 0.3, rtol=1e-12)
    for too_few in (jnp.zeros(5), jnp.zeros(5).at[2].set(1.0), jnp.ones(1)):
        assert np.isnan(half_life(too_few))


def test_half_life_of_an_identity_cell_is_infinite_and_jit_works():
    cell = rnnjax.identity_rnn(H)
    params = drawn(cell, 2)
    ct = recorded(cell, params, jnp.ones((20, B, 2)), lambda c, ys: jnp.sum(c.h**2)).carry_ct
    assert np.all(jax.jit(half_life)(gradient_norms(ct)) == np.inf)
    assert verdict(gradient_norms(ct)).label == "constant"


def test_verdicts():
    for rate, label in [(0.1, "vanishes"), (-0.1, "explodes"), (0.01, "constant"), (0, "constant")]:
        found = verdict(decaying(rate))
        assert found.label == label
        np.testing.assert_allclose(found.rate, rate, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(found.log10_ratio, -49 * rate / np.log(10), rtol=1e-12)
        assert found.half_life == pytest.approx(np.log(2) / rate if rate else np.inf, rel=1e-12)


def test_the_threshold_is_a_factor_of_two_over_the_sequence():
    edge = np.log(2) / 49
    labels = [verdict(decaying(f * edge)).label for f in (0.99, 1.01, -0.99, -1.01)]
    assert labels == ["constant", "vanishes", "constant", "explodes"]


def test_examples_are_averaged_in_the_logarithm():
    found = verdict(jnp.stack([decaying(0.3), 100 * decaying(0.1)], axis=1))
    np.testing.assert_allclose(found.rate, 0.2, rtol=1e-12)
    np.testing.assert_allclose(found.log10_ratio, -49 * 0.2 / np.log(10), rtol=1e-12)
    padded = jnp.stack([decaying(0.3), decaying(0.3).at[20:].set(0), jnp.zeros(50)], axis=1)
    found = verdict(padded)
    np.testing.assert_allclose(found.rate, 0.3, rtol=1e-12)
    np.testing.assert_allclose(found.log10_ratio, -0.3 * (49 + 19) / 2 / np.log(10), rtol=1e-12)


def test_verdicts_at_the_ends_of_the_floats():
    gone = verdict(decaying(0.5).at[:30].set(0.0))
    assert (gone.label, gone.log10_ratio) == ("vanishes", -np.inf)
    np.testing.assert_allclose(gone.rate, 0.5, rtol=1e-12)
    assert verdict(jnp.zeros(5).at[4].set(1.0))[:1] == ("vanishes",)
    assert verdict(jnp.ones(5).at[0].set(jnp.inf)).label == "explodes"
    assert verdict(jnp.ones(5).at[0].set(jnp.nan)).label == "explodes"
    assert verdict(jnp.ones(1)) == ("constant", np.inf, 0.0, 0.0)
    assert str(gone) == "vanishes: halves every 1.39 steps back in time; ‖∂C/∂h_1‖ is zero"
    assert str(verdict(jnp.full(5, jnp.inf))) == "explodes: some norms are not finite"


def test_verdicts_read_as_sentences():
    assert str(verdict(decaying(-np.log(2) / 5, 51))) == (
        "explodes: doubles every 5 steps back in time; ‖∂C/∂h_1‖ is 10^3.0 times ‖∂C/∂h_T‖"
    )
    assert str(verdict(jnp.ones(9))) == "constant: ‖∂C/∂h_1‖ is 10^0.0 times ‖∂C/∂h_T‖"


def test_verdict_errors():
    with pytest.raises(ValueError, match="all norms are zero"):
        verdict(jnp.zeros((5, 2)))
    with pytest.raises(TypeError, match="floating-point norms"):
        verdict(jnp.arange(5))
    with pytest.raises(ValueError, match=r"T at least 1, got shape \(\)"):
        half_life(jnp.asarray(1.0))
