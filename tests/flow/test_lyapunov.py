"""Lyapunov exponents of systems whose exponents are known."""

import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, normal

import rnnjax
from rnnjax.flow import jacobians, log_singular_values, lyapunov_spectrum

H = 4
EIGENVALUES = np.array([1.2, -0.8, 0.5, 0.3])


def linear(eigenvalues=EIGENVALUES):
    """A linear vanilla cell with a symmetric W_h of these eigenvalues."""
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((H, H)))[0]
    cell = rnnjax.vanilla(H, "identity")
    params = drawn(cell, 1)
    return cell, params._replace(w_h=jnp.asarray(q * eigenvalues[None] @ q.T))


def test_linear_net_has_the_logarithms_of_its_eigenvalues():
    cell, params = linear()
    xs = jnp.ones((300, 2, 1))
    want = np.tile(np.log(np.abs(EIGENVALUES)), (2, 1))
    found = lyapunov_spectrum(cell, params, xs, burn_in=200)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [1, 3])
def test_the_leading_ones_alone(k):
    """Also where the fastest direction is a unit vector that comes last."""
    cell, params = linear()
    params = params._replace(w_h=jnp.diag(jnp.asarray(EIGENVALUES[::-1])))
    found = lyapunov_spectrum(cell, params, jnp.ones((300, 1)), k, burn_in=200)
    np.testing.assert_allclose(found, np.log(np.abs(EIGENVALUES[:k])), rtol=0, atol=1e-12)


def test_identity_cell_has_exactly_zero():
    cell = rnnjax.identity_rnn(3)
    params = drawn(cell, 2)
    found = lyapunov_spectrum(cell, params, jnp.ones((50, 4, 2)))
    assert np.array_equal(found, np.zeros((4, 3)))


def test_burn_in_leaves_its_steps_out():
    """Along a trajectory that starts on the steep part of tanh and ends where it is flat."""
    cell = rnnjax.vanilla(1)
    params = rnnjax.cells.VanillaParams(jnp.ones((1, 1)), jnp.full((1, 1), 2.0), jnp.zeros(1))
    xs = jnp.linspace(0.0, 1.0, 30)[:, None]
    logs = np.log(np.abs(np.asarray(jacobians(cell, params, xs))[:, 0, 0]))
    for burn_in in (0, 10):
        found = lyapunov_spectrum(cell, params, xs, burn_in=burn_in)
        np.testing.assert_allclose(found, [logs[burn_in:].mean()], rtol=1e-13)


def test_the_sum_is_the_mean_log_determinant_and_the_first_that_of_the_product():
    cell = rnnjax.lstm(H)
    params = drawn(cell, 2)
    xs = normal(1, 400, 2)
    found = lyapunov_spectrum(cell, params, xs)
    J = jacobians(cell, params, xs)
    np.testing.assert_allclose(found.sum(), np.linalg.slogdet(J)[1].mean(), rtol=1e-12)
    logs = log_singular_values(J, [400]).logs[0]
    np.testing.assert_allclose(found, logs / 400, rtol=0, atol=0.03)
    assert np.all(np.diff(found) <= 0)


def test_a_closed_direction_is_minus_infinity():
    cell, params = linear()
    w_h = params.w_h.at[3].set(0)  # nothing reads the last unit
    found = lyapunov_spectrum(cell, params._replace(w_h=w_h), jnp.ones((600, 1)), burn_in=500)
    want = np.sort(np.log(np.abs(np.linalg.eigvals(w_h[:3, :3]))))[::-1]
    np.testing.assert_allclose(found[:3], want, rtol=0, atol=1e-10)
    assert found[3] == -np.inf


@pytest.mark.parametrize(
    ("steps", "k", "burn_in", "error", "message"),
    [
        (10, None, 10, ValueError, "T = 10 steps and burn_in = 10: no step is left"),
        (10, 5, 0, ValueError, "k = 5 exponents of a carry of size S = 4"),
        (10, 0, 0, ValueError, "k must be at least 1"),
        (10, 1.5, 0, TypeError, "k must be a positive int"),
        (10, 1, -1, ValueError, "burn_in must be at least 0"),
    ],
)
def test_errors(steps, k, burn_in, error, message):
    cell, params = linear()
    with pytest.raises(error, match=message):
        lyapunov_spectrum(cell, params, jnp.ones((steps, 1)), k, burn_in=burn_in)


def test_each_example_and_each_episode_is_a_sequence_of_its_own():
    cell = rnnjax.vanilla(1)
    params = rnnjax.cells.VanillaParams(jnp.ones((1, 1)), jnp.full((1, 1), 2.0), jnp.zeros(1))
    xs = normal(2, 12, 3, 1)
    lengths, resets = jnp.array([12, 9, 2]), jnp.zeros((12, 3), bool).at[5, :2].set(True)
    found = lyapunov_spectrum(cell, params, xs, burn_in=2, lengths=lengths, resets=resets)
    for example, last in ((0, 12), (1, 9)):
        episodes = [(0, 5), (5, last)]
        logs = [jacobians(cell, params, xs[a:b, example])[2:, 0, 0] for a, b in episodes]
        want = np.log(np.abs(np.concatenate(logs))).mean()
        np.testing.assert_allclose(found[example], [want], rtol=1e-12)
    assert np.isnan(found[2, 0])  # no step beyond its burn-in
