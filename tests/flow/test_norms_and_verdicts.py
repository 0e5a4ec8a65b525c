"""Norms of the signal, and the half-lives and verdicts that are read off them."""

from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, normal

import rnnjax
from rnnjax.cells import GRUCarry, LSTMCarry
from rnnjax.flow import Recording, gradient_norms, half_life, record, verdict

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
    found = record(cell, params, jnp.ones((20, B, 2)), lambda c, ys: jnp.sum(c.h**2))
    assert np.all(jax.jit(half_life)(found) == np.inf)
    assert np.all(half_life(gradient_norms(found)) == np.inf)
    assert verdict(found, leaf="h")[:5] == ("constant", np.inf, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("weight", "label", "factor"), [(0.5, "vanishes", 0.5), (1.0, "constant", 1.0)]
)
def test_one_error_is_judged_and_a_sum_of_errors_refused(weight, label, factor):
    """h_t = w h_{t-1} + x_t with a cost at every step, but for the last step of one example."""

    def cost(carry, ys):
        return jnp.sum(ys) - jnp.sum(ys[-1, 1])

    cell = rnnjax.vanilla(1, "identity")
    params = cell.init(jax.random.key(0), 1)
    params = params._replace(w_h=jnp.full((1, 1), weight))
    sums = record(cell, params, jnp.ones((6, 2, 1)), cost)
    assert sums.reads.sum(axis=0).tolist() == [6, 5]
    for judge in (verdict, half_life):
        with pytest.raises(ValueError, match=r"reads 6 steps, .* record\(..., last=True\)"):
            judge(sums)
    one = record(cell, params, jnp.ones((6, 2, 1)), cost, last=True)
    assert one.reads.sum(axis=0).tolist() == [1, 1]
    assert one.cost == sums.cost
    want = factor ** np.arange(6.0)[::-1]
    np.testing.assert_allclose(gradient_norms(one)[:, 0], want, rtol=1e-14)
    np.testing.assert_allclose(gradient_norms(one)[:, 1], [*want[1:], 0], rtol=1e-14)
    assert verdict(one).label == label
    np.testing.assert_allclose(verdict(one).rate, -np.log(factor), rtol=1e-12, atol=1e-15)


def test_the_last_step_that_is_read_may_be_that_of_the_carry():
    cell = rnnjax.gru(H)
    params, xs, lengths = drawn(cell, 2), normal(1, 5, B, 2), np.array([5, 3])

    def both(carry, ys):
        return jnp.sum(carry.h**2) + jnp.sum(ys + ys**3)

    def last_alone(carry, ys):
        y_T = jnp.stack([ys[4, 0], ys[2, 1]])
        return jnp.sum(carry.h**2) + jnp.sum(y_T + y_T**3)

    every = record(cell, params, xs, both, lengths=lengths)
    one = record(cell, params, xs, both, lengths=lengths, last=True)
    want = record(cell, params, xs, last_alone, lengths=lengths)
    assert every.reads.sum(axis=0).tolist() == [5, 3]
    assert np.flatnonzero(one.reads[:, 0]).tolist() == [4]
    assert np.flatnonzero(one.reads[:, 1]).tolist() == [2]
    np.testing.assert_array_equal(one.reads, want.reads)
    np.testing.assert_allclose(one.carry_ct.h, want.carry_ct.h, rtol=1e-12, atol=1e-15)
    assert np.abs(one.carry_ct.h - every.carry_ct.h).max() > 1e-3


def test_verdicts():
    for rate, label in [
        (0.1, "vanishes"),
        (-0.1, "explodes"),
        (0.005, "constant"),
        (0, "constant"),
    ]:
        found = verdict(decaying(rate))
        assert found.label == label
        assert found.spread == 0
        np.testing.assert_allclose(found.rate, rate, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(found.log10_ratio, -49 * rate / np.log(10), rtol=1e-12)
        assert found.half_life == pytest.approx(np.log(2) / rate if rate else np.inf, rel=1e-12)


@pytest.mark.parametrize("steps", [5, 5000])
def test_the_threshold_is_a_rate_whatever_the_length(steps):
    labels = [verdict(decaying(r, steps)).label for r in (0.009, 0.011, -0.009, -0.011)]
    assert labels == ["constant", "vanishes", "constant", "explodes"]
    assert verdict(decaying(0.05, steps), tolerance=0.1).label == "constant"


def test_three_quarters_of_the_examples_decide():
    def of(*rates):
        return jnp.stack([3.0**i * decaying(rate) for i, rate in enumerate(rates)], axis=1)

    assert verdict(of(0.3, 0.3, 0.3, -0.3)).label == "vanishes"
    assert verdict(of(0.3, 0.3, -0.3, -0.3, 0.0)).label == "mixed"
    opposed = verdict(of(0.3, 0.3, -0.3, -0.3))
    assert opposed.label == "mixed"
    np.testing.assert_allclose([opposed.rate, opposed.spread], [0, 0.6], rtol=1e-12, atol=1e-15)
    assert str(opposed).startswith("mixed: λ = ")
    assert "over examples spread by 0.6; " in str(opposed)
    found = verdict(of(0.1, 0.2, 0.3, 0.4, 0.5))
    np.testing.assert_allclose([found.rate, found.spread], [0.3, 0.2], rtol=1e-12)
    np.testing.assert_allclose(found.log10_ratio, -49 * 0.3 / np.log(10), rtol=1e-12)
    odd = jnp.tile(decaying(-0.2)[:, None], (1, 16))
    for one in (jnp.zeros(50).at[-1].set(1.0), jnp.zeros(50), jnp.full(50, jnp.nan)):
        found = verdict(odd.at[:, 3].set(one))  # one of sixteen is dead, empty or overflows
        assert found.label == "explodes"
        np.testing.assert_allclose([found.rate, found.spread], [-0.2, 0], rtol=1e-12, atol=1e-12)


def test_each_example_ends_at_its_own_last_step():
    padded = jnp.stack([decaying(0.3), decaying(0.3).at[20:].set(0), jnp.zeros(50)], axis=1)
    found = verdict(padded)
    np.testing.assert_allclose(found.rate, 0.3, rtol=1e-12)
    np.testing.assert_allclose(found.log10_ratio, -0.3 * (49 + 19) / 2 / np.log(10), rtol=1e-12)


def test_verdicts_at_the_ends_of_the_floats():
    gone = verdict(decaying(0.5).at[:30].set(0.0))
    assert (gone.label, gone.log10_ratio) == ("vanishes", -np.inf)
    np.testing.assert_allclose(gone.rate, 0.5, rtol=1e-12)
    assert verdict(jnp.zeros(5).at[4].set(1.0))[:5] == ("vanishes", 0.0, -np.inf, np.inf, 0.0)
    assert verdict(jnp.ones(5).at[:2].set(0.0)).rate == np.inf  # cut off, as by a reset
    assert verdict(jnp.ones(5).at[0].set(jnp.inf)).label == "explodes"
    assert verdict(jnp.ones(5).at[0].set(jnp.nan)).label == "explodes"
    assert str(gone) == (
        "vanishes: halves every 1.39 steps back in time; ‖∂C/∂h_1‖ is exactly zero (no path leads "
        "so far back, or it underflows)"
    )
    assert str(verdict(jnp.full(5, jnp.inf))) == "explodes: some norms are not finite"


def test_verdicts_read_as_sentences():
    assert str(verdict(decaying(-np.log(2) / 5, 51))) == (
        "explodes: doubles every 5 steps back in time; ‖∂C/∂h_1‖ is 10^3.0 times ‖∂C/∂h_T‖"
    )
    assert str(verdict(jnp.ones(9))) == "constant: ‖∂C/∂h_1‖ is 10^0.0 times ‖∂C/∂h_T‖"


def test_examples_without_a_gradient_do_not_change_a_verdict():
    """0.5^(T - t) in 19 of 24 examples; 3 are cut to zero half-way, 2 never have a gradient."""
    norms = np.tile(0.5 ** np.arange(29.0, -1, -1)[:, None], (1, 24))
    norms[:15, :3] = 0.0
    norms[:, 3:5] = 0.0
    found = verdict(jnp.asarray(norms))
    np.testing.assert_allclose(found.rate, np.log(2), rtol=1e-12)
    np.testing.assert_allclose(found.half_life, 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.log10_ratio, -29 * np.log10(2), rtol=1e-12)
    assert (found.label, found.share, found.examples) == ("vanishes", 1.0, 22)
    np.testing.assert_allclose(found.rate_interval, np.log(2), rtol=1e-12)
    low = 0.025 ** (1 / 22)  # all 22 agree: P(22 of 22) = share²² = 2.5 %
    np.testing.assert_allclose(found.share_interval, (low, 1.0), rtol=1e-12)
    assert str(found).endswith("; 22 of 22 examples agree (95 % interval: 85 to 100 %)")


def test_the_confidence_of_a_mixed_population():
    """12 of 16 vanish at rates 0.1 … 1.2, 4 explode: enough for the label, not to be sure of it."""
    rates = [*(0.1 * np.arange(1, 13)), -0.1, -0.2, -0.3, -0.4]
    found = verdict(jnp.stack([decaying(rate) for rate in rates], axis=1))
    assert (found.label, found.share, found.examples) == ("vanishes", 0.75, 16)
    low, high = found.share_interval

    def at_least(count, share):
        return sum(comb(16, k) * share**k * (1 - share) ** (16 - k) for k in range(count, 17))

    np.testing.assert_allclose(at_least(12, low), 0.025, rtol=1e-9)
    np.testing.assert_allclose(1 - at_least(13, high), 0.025, rtol=1e-9)
    # P(Bin(16, ½) ≤ 3) = 697/65536 = 1.1 %, and ≤ 4: 3.8 %, so from the 4th to the 13th rate.
    np.testing.assert_allclose(found.rate_interval, (-0.1, 0.9), rtol=1e-9)
    assert "; 12 of 16 examples agree (95 % interval: 48 to 93 %)" in str(found)
    assert not found.is_settled
    settled = [verdict(jnp.stack([decaying(0.1)] * n, axis=1)).is_settled for n in (12, 13)]
    assert settled == [False, True]
    few = verdict(jnp.stack([decaying(0.1)] * 5, axis=1))
    assert few.rate_interval == (-np.inf, np.inf)  # 2 · ½⁵ = 6 % is too much
    mixed = verdict(jnp.stack([decaying(r) for r in (0.1, 0.1, -0.1, 0.0)], axis=1))
    assert "; at most 2 of 4 examples agree" in str(mixed)


@pytest.mark.parametrize("judge", [verdict, half_life])
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (jnp.arange(5), TypeError, "expects real norms .*got dtype int"),
        (jnp.ones(5, complex), TypeError, r"got dtype complex128: .*gradient_norms"),
        (GRUCarry(jnp.ones((5, 2))), TypeError, "got GRUCarry: of gradients take gradient_norms"),
        (jnp.array([1.0, -1.0]), ValueError, r"got \(2,\) with negative numbers"),
        (jnp.asarray(1.0), ValueError, r"T at least 1, got shape \(\)"),
    ],
)
def test_what_is_no_norm_is_refused(judge, given, error, message):
    with pytest.raises(error, match=message):
        judge(given)


def test_verdict_errors():
    for nothing in (jnp.zeros((5, 2)), jnp.ones(1), jnp.ones((5, 2)).at[1:].set(0)):
        with pytest.raises(ValueError, match=r"no example of the norms .* over two steps or more"):
            verdict(nothing)
    with pytest.raises(TypeError, match="leaf='h' chooses a field of a Recording"):
        verdict(jnp.ones(5), leaf="h")
