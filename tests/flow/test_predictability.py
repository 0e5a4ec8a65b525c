"""Whether Newton's method over time pays: by the largest Lyapunov exponent."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.flow import predictability


@pytest.mark.parametrize(
    ("factor", "label", "words"),
    [
        (0.5, "converges", r"λ_1 = -0.69 .*every 1 steps: the iterations of deer\(\) hardly"),
        (1.0, "neutral", "neither converge nor diverge over 20 steps"),
        (2.0, "diverges", r"λ_1 = \+0.69 .*by 10\^6.0 over 20 steps.*use sequential"),
    ],
)
def test_by_the_largest_exponent(factor, label, words):
    cell = rnnjax.vanilla(2, "identity")
    params = cell.init(jax.random.key(0), 1)._replace(w_h=factor * jnp.eye(2))
    found = predictability(cell, params, jnp.ones((20, 1)))
    assert found.label == label
    assert found.exponent == pytest.approx(np.log(factor), abs=1e-6)
    assert found.steps == 20
    assert re.search(words, str(found))


def test_the_steps_are_those_that_the_exponent_is_the_mean_over():
    cell = rnnjax.vanilla(2, "identity")
    params = cell.init(jax.random.key(0), 1)._replace(w_h=2.0 * jnp.eye(2))
    xs, lengths = jnp.ones((20, 2, 1)), jnp.array([12, 3])
    found = predictability(cell, params, xs, burn_in=5, lengths=lengths)
    assert (found.label, found.steps) == ("diverges", 7)  # the other has no step beyond 5
    assert "by 10^2.1 over 7 steps" in str(found)
    resets = jnp.zeros((20, 2), bool).at[6, 0].set(True)
    assert predictability(cell, params, xs, burn_in=5, lengths=lengths, resets=resets).steps == 2
    with pytest.raises(ValueError, match="no example has a step beyond burn_in = 15"):
        predictability(cell, params, xs, burn_in=15, lengths=lengths)


def test_of_a_run_that_is_not_finite_nothing_is_known():
    cell = rnnjax.vanilla(2, "identity")
    params = cell.init(jax.random.key(0), 1)
    found = predictability(cell, params._replace(w_h=jnp.full((2, 2), jnp.nan)), jnp.ones((9, 1)))
    assert (found.label, found.steps) == ("unknown", 9)
    assert np.isnan(found.exponent)
    assert "not finite somewhere along the run" in str(found)
