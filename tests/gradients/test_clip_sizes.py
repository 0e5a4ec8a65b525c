"""Clips of δ_t at sizes whose squares, or whose limits, are beyond the dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.gradients import clip_by_norm, clip_by_value


def test_norms_whose_squares_are_beyond_float32():
    """What is clipped keeps its direction and has the limit's norm, at any sizes of the two."""
    delta = jnp.array([[3e25, -4e25], [3e-20, 4e-20], [3e38, 3e38], [0.0, 0.0]], jnp.float32)
    want = [[0.6, -0.8], [3e-20, 4e-20], [0.5**0.5, 0.5**0.5], [0, 0]]
    np.testing.assert_allclose(clip_by_norm(1.0)(delta), want, rtol=1e-6)
    small = clip_by_norm(1e-25)(delta)
    np.testing.assert_allclose(small[:2], [[6e-26, -8e-26], [6e-26, 8e-26]], rtol=1e-6)
    large = jax.jit(lambda limit: clip_by_norm(limit)(delta))(1e20)
    np.testing.assert_allclose(large, clip_by_norm(1e20)(delta), rtol=1e-6)
    np.testing.assert_allclose(large[:2], [[6e19, -8e19], [3e-20, 4e-20]], rtol=1e-6)
    wide = jnp.array([[3e200, 4e200], [3e-200, 4e-200]])
    np.testing.assert_allclose(clip_by_norm(1e-200)(wide), [[6e-201, 8e-201]] * 2, rtol=1e-13)


@pytest.mark.parametrize("clip", [clip_by_value, clip_by_norm])
def test_a_limit_beyond_the_dtype_clips_nothing(clip):
    delta = jnp.array([[3e38, -3e38], [0.0, 1.0]], jnp.float32)
    np.testing.assert_array_equal(clip(1e200)(delta), delta)
    slope = jax.grad(lambda d: jnp.sum(clip(1e200)(d)))(delta)
    np.testing.assert_array_equal(slope, jnp.ones_like(delta))


def test_the_slope_of_a_clipped_norm_at_large_errors():
    # out = limit u with u = delta / |delta|:   d out / d delta = limit (I - u uᵀ) / |delta|
    delta = jnp.array([3e25, 4e25], jnp.float32)
    u = np.array([0.6, 0.8])
    got = jax.jacobian(clip_by_norm(2.0))(delta)
    np.testing.assert_allclose(got, 2 * (np.eye(2) - np.outer(u, u)) / 5e25, rtol=1e-5)
    by_limit = jax.jacobian(lambda limit: clip_by_norm(limit)(delta))(2.0)
    np.testing.assert_allclose(by_limit, u, rtol=1e-6)


def test_errors_that_are_not_finite_stay_so():
    delta = jnp.array([[jnp.nan, 9.0], [jnp.inf, 9.0]])
    np.testing.assert_array_equal(clip_by_norm(1.0)(delta), [[jnp.nan, 9], [jnp.nan, 0]])
