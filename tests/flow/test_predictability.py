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
