"""The bound on the vanilla cell's gradient, beside what is measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, normal, recorded

import rnnjax
from rnnjax.flow import gradient_norms, pascanu_bound, verdict

H = 6


def scaled(sigma, seed=0):
    """A matrix with largest singular value sigma."""
    w = np.random.default_rng(seed).standard_normal((H, H))
    return jnp.asarray(sigma * w / np.linalg.norm(w, 2))


@pytest.mark.parametrize(
    ("activation", "sigma", "gamma", "label"),
    [
        ("tanh", 0.9, 1.0, "must vanish"),
        ("relu", 1.0, 1.0, "may stay constant"),
        ("identity", 1.5, 1.0, "may explode"),
        ("sigmoid", 3.9, 0.25, "must vanish"),
        ("sigmoid", 4.0, 0.25, "may stay constant"),
        ("sigmoid", 4.1, 0.25, "may explode"),
    ],
)
def test_the_product_and_its_verdict(activation, sigma, gamma, label):
    found = pascanu_bound(scaled(sigma), activation)
    np.testing.assert_allclose(found[:3], [sigma, gamma, sigma * gamma], rtol=1e-13)
    assert found.verdict == label


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.bfloat16])
def test_orthogonal_weights_are_at_one_in_their_own_dtype(dtype):
    w = np.linalg.qr(np.random.default_rng(0).standard_normal((32, 32)))[0]
    assert pascanu_bound(jnp.asarray(w, dtype), "tanh").verdict == "may stay constant"


@pytest.mark.parametrize(
    ("activation", "sigma"), [("tanh", 0.95), ("relu", 0.8), ("sigmoid", 3.8), ("identity", 0.99)]
)
def test_below_one_every_measured_step_keeps_to_the_bound(activation, sigma):
    cell = rnnjax.vanilla(H, activation)
    params = drawn(cell, 2)._replace(w_h=scaled(sigma))
    bound = pascanu_bound(params.w_h, activation)
    assert bound.verdict == "must vanish"
    xs = normal(1, 60, 5, 2)
    signal = recorded(cell, params, xs, lambda carry, ys: jnp.sum(jnp.sin(carry.h + 1))).carry_ct
    norms = np.asarray(gradient_norms(signal))
    assert np.all(norms[-1] > 0)
    assert np.all(norms[:-1] <= bound.product * norms[1:] * (1 + 1e-13))
    assert verdict(norms).rate >= -np.log(bound.product) * (1 - 1e-12)


def test_above_one_is_not_sufficient():
    """tanh saturates: the product is 1.5, and the gradient vanishes all the same."""
    cell = rnnjax.vanilla(H)
    params = drawn(cell, 2)._replace(w_h=scaled(1.5))
    xs = 3 * normal(1, 60, 5, 2)
    signal = recorded(cell, params, xs, lambda carry, ys: jnp.sum(carry.h)).carry_ct
    assert pascanu_bound(params.w_h, "tanh").verdict == "may explode"
    assert verdict(gradient_norms(signal)).label == "vanishes"


@pytest.mark.parametrize(
    ("w_h", "activation", "error", "message"),
    [
        (jnp.ones((2, 8)), "tanh", ValueError, r"square matrix \[H, H\], got shape \(2, 8\)"),
        (jnp.ones((2, 2), int), "tanh", TypeError, "must be real floating point, got dtype int64"),
        (jnp.ones((2, 2), complex), "tanh", TypeError, "real floating point, got dtype complex128"),
        (jnp.full((2, 2), jnp.inf), "tanh", ValueError, "not finite"),
        (jnp.ones((2, 2)), "tahn", ValueError, "did you mean 'tanh'"),
        (drawn(rnnjax.vanilla(2), 1), "tanh", TypeError, r"params\.w_h, got VanillaParams\("),
        ({"a": 1.0}, "tanh", TypeError, r"an array \[H, H\], such as params\.w_h, got a dict"),
        (None, "tanh", TypeError, r"an array \[H, H\], such as params\.w_h, got None"),
    ],
)
def test_errors(w_h, activation, error, message):
    with pytest.raises(error, match=message):
        pascanu_bound(w_h, activation)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap])
def test_traced_weights_are_refused(transform):
    bound = transform(lambda w_h: pascanu_bound(w_h, "tanh").product)
    with pytest.raises(
        TypeError, match=r"pascanu_bound needs concrete values: .*jnp\.linalg\.norm"
    ):
        bound(jnp.ones((2, 2) if transform is jax.jit else (3, 2, 2)))
