"""Asymmetric random weights and inputs in float64, and loops that compile nothing."""

import os

import jax
import jax.numpy as jnp
import numpy as np

os.environ.setdefault("KERAS_BACKEND", "jax")


def xs(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def randomised(tree, seed=5):
    """The same tree with every number drawn anew, none of them zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(0.7 * rng.standard_normal(leaf.shape)), tree)


def loop(step, carry, inputs):
    """Outputs of a step over a sequence, stacked, in plain Python."""
    ys = []
    for x in inputs:
        carry, y = step(carry, x)
        ys.append(y)
    return carry, jnp.stack(ys)


def assert_same_arrays(got, want, atol=1e-12):
    got, want = jax.tree.leaves(got), jax.tree.leaves(want)
    for a, b in zip(got, want, strict=True):
        assert np.any(np.asarray(b))  # a gradient of zeros shows nothing
        np.testing.assert_allclose(a, b, rtol=0, atol=atol * max(1, np.abs(np.asarray(b)).max()))
