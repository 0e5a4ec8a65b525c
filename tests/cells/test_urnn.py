"""The unitary evolution RNN against its matrices in NumPy, and the norms that it keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.cells import URNNCarry
from rnnjax.flow import gradient_norms, record

pytestmark = pytest.mark.usefixtures("eager")

T, B, D, N = 4, 2, 2, 5
CELL = rnnjax.urnn(N, permutation=3)
RNG = np.random.default_rng(0)
PARAMS = jax.tree.map(
    lambda shape: jnp.asarray(RNG.standard_normal(shape)),
    type(CELL.structure.params)((D, N), (D, N), (3, N), (2, N), (2, N), (N,)),
    is_leaf=lambda node: type(node) is tuple,
)
XS = jnp.asarray(RNG.standard_normal((T, B, D)))
H_0 = RNG.standard_normal((B, N)) + 1j * RNG.standard_normal((B, N))


def recurrent_matrix(params):
    """W = D_3 R_2 F⁻¹ D_2 Π R_1 F D_1, as it stands in the paper."""
    fourier = np.fft.fft(np.eye(N)) / np.sqrt(N)
    d_1, d_2, d_3 = (np.diag(np.exp(1j * np.asarray(row))) for row in params.theta)
    r_1, r_2 = (
        np.eye(N) - 2 * np.outer(v, v.conj()) / np.vdot(v, v).real
        for v in np.asarray(params.reflect_re) + 1j * np.asarray(params.reflect_im)
    )
    shuffle = np.eye(N)[np.random.default_rng(3).permutation(N)]
    return d_3 @ r_2 @ fourier.conj() @ d_2 @ shuffle @ r_1 @ fourier @ d_1


def test_equations_in_numpy():
    w, v = recurrent_matrix(PARAMS), np.asarray(PARAMS.v_re) + 1j * np.asarray(PARAMS.v_im)
    np.testing.assert_allclose(w @ w.conj().T, np.eye(N), atol=1e-12)
    h, want = H_0, []
    for x in np.asarray(XS):
        z = h @ w.T + x @ v
        h = np.maximum(np.abs(z) + np.asarray(PARAMS.b), 0) * z / np.abs(z)
        want.append(np.concatenate([h.real, h.imag], axis=-1))
    carry, ys = rnnjax.unroll(CELL, PARAMS, XS, carry=URNNCarry(H_0))
    np.testing.assert_allclose(ys, want, rtol=1e-12)
    np.testing.assert_allclose(carry.h, h, rtol=1e-12)


def test_without_a_bias_state_and_error_keep_their_norms():
    params = PARAMS._replace(b=jnp.zeros(N))
    xs, carry = jnp.zeros((T, B, D)), URNNCarry(H_0)
    recording = record(CELL, params, xs, lambda carry, ys: ys[-1].sum(), carry=carry)
    np.testing.assert_allclose(gradient_norms(recording), np.sqrt(2 * N), rtol=1e-12)
    last, _ = rnnjax.unroll(CELL, params, xs, carry=carry)
    np.testing.assert_allclose(np.linalg.norm(last.h, axis=-1), np.linalg.norm(H_0, axis=-1))


def test_a_state_of_zero_has_a_gradient():
    params = PARAMS._replace(b=jnp.full(N, 0.5))
    for gradient in (rnnjax.autodiff(), rnnjax.bptt()):
        value, found = jax.value_and_grad(
            lambda p, g=gradient: rnnjax.unroll(CELL, p, jnp.zeros((2, D)), gradient=g)[1].sum()
        )(params)
        assert value == 0
        assert all(np.all(np.isfinite(leaf)) for leaf in found)


@pytest.mark.parametrize("gradient", [rnnjax.autodiff(), rnnjax.bptt()], ids=repr)
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_units_of_any_size_in_float32(gradient, size):
    """One step from zero to z = m > 0: h = m + b, and ∂(Im h)/∂(Im z) = 1 + b/m."""
    cell = rnnjax.urnn(1, dtype="float32")
    ones, zeros = (f((1, 1), np.float32) for f in (np.ones, np.zeros))
    params = type(PARAMS)(ones, zeros, zeros.repeat(3, 0), *(ones.repeat(2, 0),) * 2, ones[0] / 2)

    def imaginary(params):
        _, ys = rnnjax.unroll(cell, params, np.float32(size) * ones, gradient=gradient)
        return ys[0, 1], ys[0, 0]

    grads, real = jax.grad(imaginary, has_aux=True)(params)
    np.testing.assert_allclose(real, size + 0.5, rtol=1e-6)
    np.testing.assert_allclose(grads.v_im, [[size + 0.5]], rtol=1e-6)
