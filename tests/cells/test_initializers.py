"""The initialisers set exactly what they are named for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.cells import initializers

KEY = jax.random.key(3)
F64 = jnp.dtype(jnp.float64)


@pytest.mark.parametrize("rho", [0.5, 1.0, 1.4])
def test_spectral_radius(rho):
    w = np.asarray(initializers.spectral_radius(rho)(KEY, (6, 6), F64))
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(w)).max(), rho, rtol=1e-12)


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_singular_value(sigma):
    for shape in ((6, 6), (3, 5)):
        w = np.asarray(initializers.singular_value(sigma)(KEY, shape, F64))
        values = np.linalg.svd(w, compute_uv=False)
        np.testing.assert_allclose(values.max(), sigma, rtol=1e-12)
        assert values.min() < 0.9 * sigma


def test_orthogonal():
    w = np.asarray(initializers.orthogonal(0.7)(KEY, (5, 5), F64))
    np.testing.assert_allclose(w @ w.T, 0.49 * np.eye(5), atol=1e-14)


def test_identity():
    w = initializers.identity(0.9)(KEY, (4, 4), F64)
    np.testing.assert_array_equal(w, 0.9 * np.eye(4))


def test_glorot_and_normal_have_their_spread():
    w = np.asarray(initializers.glorot()(KEY, (200, 100), F64))
    np.testing.assert_allclose(w.std(), np.sqrt(2 / 300), rtol=0.02)
    assert np.abs(w).max() <= np.sqrt(6 / 300)
    w = np.asarray(initializers.normal(0.05)(KEY, (200, 100), F64))
    np.testing.assert_allclose(w.std(), 0.05, rtol=0.02)


@pytest.mark.parametrize("name", ["identity", "spectral_radius"])
def test_square_matrices_only(name):
    with pytest.raises(ValueError, match=r"w_h_init"):
        getattr(initializers, name)(1.0)(KEY, (2, 3), F64)


@pytest.mark.parametrize(("factory", "gates"), [(rnnjax.lstm, 4), (rnnjax.gru, 3)])
def test_gated_cells_draw_each_gate_apart(factory, gates):
    params = factory(5, w_h_init=initializers.spectral_radius(0.8)).init(KEY, 5)
    blocks = np.split(np.asarray(params.w_h), gates, axis=-1)
    for w in blocks:
        np.testing.assert_allclose(np.abs(np.linalg.eigvals(w)).max(), 0.8, rtol=1e-12)
    assert np.abs(blocks[0] - blocks[1]).max() > 0.01
    for w in np.split(np.asarray(factory(5).init(KEY, 5).w_h), gates, axis=-1):
        np.testing.assert_allclose(w @ w.T, np.eye(5), atol=1e-14)


def test_input_and_recurrent_weights_are_drawn_apart():
    normal = initializers.normal(1.0)
    params = rnnjax.vanilla(4, w_x_init=normal, w_h_init=normal).init(KEY, 4)
    assert np.abs(params.w_x - params.w_h).max() > 0.1


CELLS = [
    rnnjax.vanilla,
    rnnjax.irnn,
    rnnjax.identity_rnn,
    rnnjax.lstm,
    rnnjax.lstm_1997,
    rnnjax.gru,
]


@pytest.mark.parametrize(
    "dtype", [jnp.float32, jnp.bfloat16, jnp.float16], ids=["f32", "bf16", "f16"]
)
@pytest.mark.parametrize("factory", CELLS)
def test_weights_have_the_dtype_asked_for(factory, dtype):
    params = factory(4, dtype=dtype).init(KEY, 3)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}
    assert all(np.isfinite(np.asarray(leaf, np.float64)).all() for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("factory", CELLS)
def test_init_follows_the_key_and_the_default_float(factory):
    cell = factory(4)
    first, again, other = (cell.init(jax.random.key(k), 3) for k in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert np.abs(first.w_x - other.w_x).max() > 1e-5
    assert first.w_x.dtype == jnp.float64
    with jax.enable_x64(False):
        assert cell.init(jax.random.key(0), 3).w_x.dtype == jnp.float32
