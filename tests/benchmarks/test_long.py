"""`python -m benchmarks.long`: a loss has the same gradient wherever it is computed."""

import jax
import numpy as np
import pytest

from benchmarks import long


@pytest.mark.usefixtures("eager")
def test_a_loss_has_one_gradient(monkeypatch):
    monkeypatch.setattr(long, "CHUNK", 2)
    monkeypatch.setattr(long, "H", 3)
    monkeypatch.setattr(long, "CELL", long.rnnjax.lstm(3))
    whole, *others = (
        jax.value_and_grad(long.LOSSES[name])(*long.problem(6))
        for name in ("mean", "chunks", "in_step", "plain")
    )
    for other in others:
        for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(whole), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
