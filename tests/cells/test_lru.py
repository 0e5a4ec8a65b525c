"""The linear recurrent unit against its equations, closed forms, its rule and its linear form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import bptt, unroll
from rnnjax.cells import LRUCarry, LRUParams
from rnnjax.gradients import check, clip_by_norm

pytestmark = pytest.mark.usefixtures("eager")

T, B, D, N = 6, 3, 3, 4
RNG = np.random.default_rng(0)
CELL = rnnjax.lru(N)
XS = jnp.asarray(RNG.standard_normal((T, B, D)))
SHAPES = LRUParams((N,), (N,), (N,), (D, N), (D, N), (N, D), (N, D), (D,))
PARAMS = LRUParams(*(jnp.asarray(0.5 * RNG.standard_normal(shape)) for shape in SHAPES))
H_0 = RNG.standard_normal((B, N)) + 1j * RNG.standard_normal((B, N))
LENGTHS = jnp.array([6, 4, 0])
RESETS = jnp.zeros((6, 3), bool).at[2, 0].set(True).at[3, 1].set(True)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


def in_complex_numbers(params):
    """λ, γ, B, C and d of the equations."""
    nu, theta, gamma, b_re, b_im, c_re, c_im, d = map(np.asarray, params)
    lam = np.exp(-np.exp(nu) + 1j * np.exp(theta))
    return lam, np.exp(gamma), b_re + 1j * b_im, c_re + 1j * c_im, d


def test_equations_in_numpy():
    lam, gamma, b, c, d = in_complex_numbers(PARAMS)
    h, want = H_0, []
    for x in np.asarray(XS):
        h = lam * h + gamma * (x @ b)
        want.append((h @ c).real + d * x)
    carry, ys = unroll(CELL, PARAMS, XS, carry=LRUCarry(H_0))
    close(ys, want)
    close(carry.h, h)


def test_last_state_is_a_sum_of_powers():
    lam, gamma, b, *_ = in_complex_numbers(PARAMS)
    powers = lam[None] ** np.arange(T - 1, -1, -1)[:, None]
    want = np.einsum("tn,n,tbn->bn", powers, gamma, np.asarray(XS) @ b)
    close(unroll(CELL, PARAMS, XS)[0].h, want)


def impulse_response(params, x, gradient):
    """y_{T-1} [D] to the input x [D] at t = 0 and nothing after it."""
    xs = jnp.zeros((T, D)).at[0].set(x)
    return unroll(CELL, params, xs, gradient=gradient)[1][-1]


def test_derivatives_of_the_impulse_response():
    # y = Re(g C), g = γ λ^{T-1} (x B), λ = exp(-exp(ν) + i exp(θ))
    lam, gamma, b, c, _ = in_complex_numbers(PARAMS)
    x = np.asarray(XS[0, 0])
    along = lam ** (T - 1) * gamma
    g = along * (x @ b)
    close(impulse_response(PARAMS, x, bptt()), (g @ c).real)
    got = jax.jacrev(impulse_response)(PARAMS, x, bptt())
    powers = (T - 1) * g
    close(got.nu_log, (powers * -np.exp(np.asarray(PARAMS.nu_log)) * c.T).real)
    close(got.theta_log, (powers * 1j * np.exp(np.asarray(PARAMS.theta_log)) * c.T).real)
    close(got.gamma_log, (g * c.T).real)
    close(got.b_re, np.einsum("d,n,no->odn", x, along, c).real)
    close(got.b_im, np.einsum("d,n,no->odn", x, 1j * along, c).real)
    close(got.c_re, np.einsum("n,po->pno", g, np.eye(D)).real)
    close(got.c_im, np.einsum("n,po->pno", 1j * g, np.eye(D)).real)
    close(got.d, np.zeros((D, D)))
    by_x = jax.jacrev(impulse_response, 1)(PARAMS, jnp.asarray(x), bptt())
    close(by_x, np.einsum("dn,n,no->od", b, along, c).real)


def test_cotangent_of_the_state_follows_jax():
    # C = Re(w h_T) and h_T = λ^T h_0: the cotangent of h_0 is w λ^T, with nothing conjugated.
    weights = RNG.standard_normal(N) + 1j * RNG.standard_normal(N)

    def cost(h):
        last, _ = unroll(CELL, PARAMS, XS[:, 0], carry=LRUCarry(h), gradient=bptt())
        return jnp.sum((weights * last.h).real)

    close(jax.grad(cost)(jnp.asarray(H_0[0])), weights * in_complex_numbers(PARAMS)[0] ** T)


def test_real_lambda_and_b_make_a_real_recurrence():
    params = PARAMS._replace(
        theta_log=jnp.full(N, -jnp.inf), b_im=jnp.zeros((D, N)), gamma_log=jnp.zeros(N)
    )
    carry, ys = unroll(CELL, params, XS)
    np.testing.assert_array_equal(carry.h.imag, np.zeros((B, N)))
    h = np.zeros((B, N))
    for x in np.asarray(XS):
        h = np.exp(-np.exp(np.asarray(params.nu_log))) * h + x @ np.asarray(params.b_re)
    close(carry.h.real, h)
    close(ys[-1], h @ np.asarray(params.c_re) + np.asarray(params.d) * np.asarray(XS[-1]))


def test_rule_and_linear_form():
    report = check(CELL, lengths=LENGTHS)
    assert report.passed, str(report)
    assert {row.way for row in report.values} == {"rule", "linear form"}
    assert {row.leaf for row in report.values} == {"carry.h", "ys"}
    assert max(row.difference for row in report.values) < 1e-14
    assert max(row.rule_autodiff for row in report.rows) < 1e-13
    with_resets = check(CELL, lengths=LENGTHS, resets=RESETS, differences=False)
    assert with_resets.passed, str(with_resets)


def test_linear_form_by_an_associative_scan():
    a, b = CELL.structure.linear.coefficients(PARAMS, XS)

    def after(first, second):
        return second[0] * first[0], second[0] * first[1] + second[1]

    a, b = jax.lax.associative_scan(after, (a.h, b.h))
    hs = LRUCarry(a * H_0[None] + b)
    carry, ys = unroll(CELL, PARAMS, XS, carry=LRUCarry(H_0))
    close(hs.h[-1], carry.h)
    close(CELL.structure.linear.readout(PARAMS, hs, XS), ys)


def test_initial_ring():
    params = rnnjax.lru(2000, r_min=0.7, r_max=0.95, max_phase=0.5).init(jax.random.key(0), D)
    lam, gamma, b, c, _ = in_complex_numbers(params)
    radii, phases = np.abs(lam), np.angle(lam)
    assert 0.7 <= radii.min() < 0.705
    assert 0.945 < radii.max() <= 0.95
    assert 0 <= phases.min() < 0.005
    assert 0.495 < phases.max() <= 0.5
    # Uniform in area: half of them lie within the radius that halves it.
    assert abs(np.mean(radii**2 < (0.7**2 + 0.95**2) / 2) - 0.5) < 0.04
    close(gamma, np.sqrt(1 - radii**2))
    np.testing.assert_allclose(np.var(b.real) * 2 * D, 1, rtol=0.1)
    np.testing.assert_allclose(np.var(c.imag) * 2000, 1, rtol=0.1)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_whole_disc_is_finite_in_every_dtype(dtype):
    params = rnnjax.lru(3000, dtype=dtype).init(jax.random.key(1), 2)
    assert all(np.isfinite(leaf.astype(jnp.float32)).all() for leaf in params)
    assert {leaf.dtype for leaf in params} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_state_is_complex64_where_params_are_smaller(dtype):
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), PARAMS)

    def cost(params, xs):
        carry, ys = unroll(CELL, params, xs, gradient=bptt())
        return jnp.sum(ys.astype(jnp.float32)), (carry, ys)

    low, (carry, ys) = jax.grad(cost, (0, 1), has_aux=True)(params, XS.astype(dtype))
    assert carry.h.dtype == jnp.complex64
    assert ys.dtype == dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(low)} == {jnp.dtype(dtype)}
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
    want, _ = jax.grad(cost, (0, 1), has_aux=True)(wide, XS.astype(dtype).astype(jnp.float64))
    for got, exact in zip(jax.tree.leaves(low), jax.tree.leaves(want), strict=True):
        size = float(jnp.abs(exact).max())
        limit = 1e-5 if dtype == jnp.float32 else 0.1
        np.testing.assert_allclose(got.astype(jnp.float64), exact, atol=limit * size)


def test_clip_sees_both_parts_of_the_error():
    # One step and a state that is read through C = 3 + 4i alone: the error at u is 3, 4 and its
    # norm 5, so that clipped to 1 it becomes (0.6, 0.8).
    one = LRUParams(*(jnp.zeros((1,) * len(shape)) for shape in SHAPES))
    one = one._replace(c_re=jnp.array([[3.0]]), c_im=jnp.array([[4.0]]), b_re=jnp.ones((1, 1)))

    def cost(params):
        cut = bptt(clip_by_norm(1.0))
        return unroll(rnnjax.lru(1), params, jnp.ones((1, 1)), gradient=cut)[1].sum()

    params_ct = jax.grad(cost)(one)
    close(params_ct.b_re, [[0.6]])
    close(params_ct.b_im, [[-0.8]])  # y = Re(u C): the error at Im u is -C_im
    close(params_ct.d, [1.0])  # not reached through the state


def test_wrong_calls():
    with pytest.raises(ValueError, match="state must be at least 1"):
        rnnjax.lru(0)
    for r_min, r_max in [(0.5, 0.5), (-0.1, 0.5), (0.5, 1.1), (0.9, 0.4)]:
        with pytest.raises(ValueError, match="0 <= r_min < r_max <= 1"):
            rnnjax.lru(N, r_min=r_min, r_max=r_max)
    with pytest.raises(ValueError, match="max_phase is an angle in radians above 0"):
        rnnjax.lru(N, max_phase=0.0)
    with pytest.raises(ValueError, match=r"weights expect \[\.\.\., 3\]"):
        unroll(CELL, PARAMS, jnp.ones((T, B, D + 1)))
    with pytest.raises(ValueError, match=r"carry\.h is float64.*expected complex128"):
        unroll(CELL, PARAMS, XS, carry=LRUCarry(H_0.real))
