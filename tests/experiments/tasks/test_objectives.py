"""What is minimised: its precision."""

import jax.numpy as jnp
import numpy as np

from rnnjax.experiments.tasks import Sequences
from rnnjax.experiments.tasks._sequences import next_symbol_sets


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
