"""What is minimised and scored: its precision, and NaN."""

import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.experiments.tasks import Sequences
from rnnjax.experiments.tasks._sequences import classification, hits, next_symbol_sets, regression


def test_the_cost_of_half_precision_logits_is_computed_in_single_precision():
    logits = np.linspace(-4, 4, 3 * 5 * 2).reshape(3, 5, 2).astype(jnp.bfloat16)
    targets = (np.arange(30) % 3 == 0).reshape(3, 5, 2).astype(np.float32)
    batch = Sequences(jnp.zeros((3, 5, 1)), jnp.asarray(targets))
    cost = next_symbol_sets().cost(jnp.asarray(logits), batch)
    z = logits.astype(np.float64)
    expected = np.mean(np.logaddexp(0, z) - targets * z)
    assert cost.dtype == jnp.float32
    np.testing.assert_allclose(cost, expected, rtol=1e-6)
    assert abs(float(jnp.asarray(expected, jnp.bfloat16)) - expected) > 1e-5


def test_nan_is_wrong():
    nan, labels = np.full((2, 3, 4), np.nan), np.zeros((2, 3), int)
    assert not np.any(hits(nan, labels))
    one = np.eye(4)[labels]
    assert np.all(hits(one, labels))
    one[0, 0, 2] = np.nan
    assert np.sum(hits(one, labels)) == 5
    assert np.all(hits(np.where(one > 0, one, -np.inf), labels))


@pytest.mark.parametrize(
    ("objective", "targets", "score", "best"),
    [
        (classification(), np.zeros((1, 3), int), "accuracy", 1.0),
        (regression(tolerance=0.5), np.zeros((1, 3, 2)), "wrong", 0.0),
        (next_symbol_sets(), np.zeros((1, 3, 2)), "accuracy", 1.0),
    ],
)
def test_outputs_that_are_nan_count_as_wrong(objective, targets, score, best):
    batch = Sequences(jnp.zeros((1, 3, 1)), jnp.asarray(targets))
    good = np.zeros((1, 3, 2))
    one, all_ = good.copy(), np.full_like(good, np.nan)
    one[0, 0, 1] = np.nan
    found = [float(objective.scores(jnp.asarray(x), batch)[score]) for x in (good, one, all_)]
    np.testing.assert_allclose(found, np.abs(1 - best - np.array([1, 2 / 3, 0])))
