"""The minimal GRU against its equations, what it reduces to, its rule and its linear form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import bptt, unroll
from rnnjax.cells import MinGRUCarry, MinGRUParams
from rnnjax.gradients import check

pytestmark = pytest.mark.usefixtures("eager")

T, B, D, H = 6, 3, 3, 4
RNG = np.random.default_rng(0)
XS = jnp.asarray(RNG.standard_normal((T, B, D)))
PARAMS = MinGRUParams(
    *(jnp.asarray(RNG.standard_normal(shape)) for shape in [(D, 2 * H), (2 * H,)])
)
H_0 = RNG.standard_normal((B, H))
LENGTHS = jnp.array([6, 4, 0])
RESETS = jnp.zeros((6, 3), bool).at[2, 0].set(True).at[3, 1].set(True)
CANDIDATES = {"linear": lambda s: s, "positive": lambda s: np.where(s >= 0, s + 0.5, sigmoid(s))}
candidates = pytest.mark.parametrize("candidate", CANDIDATES)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


def sigmoid(s):
    return 1 / (1 + np.exp(-s))


def with_gate_bias(value):
    """Params whose gate reads no input."""
    return MinGRUParams(PARAMS.w_x.at[:, :H].set(0.0), PARAMS.b.at[:H].set(value))


@candidates
def test_equations_in_numpy(candidate):
    w_x, b = map(np.asarray, PARAMS)
    h, want = H_0, []
    for x in np.asarray(XS):
        z = sigmoid(x @ w_x[:, :H] + b[:H])
        h = (1 - z) * h + z * CANDIDATES[candidate](x @ w_x[:, H:] + b[H:])
        want.append(h)
    carry, ys = unroll(rnnjax.min_gru(H, candidate), PARAMS, XS, carry=MinGRUCarry(H_0))
    close(ys, want)
    close(carry.h, want[-1])


def test_a_gate_at_one_overwrites_and_at_zero_keeps():
    cell = rnnjax.min_gru(H)
    overwritten = unroll(cell, with_gate_bias(1e3), XS, carry=MinGRUCarry(H_0))[1]
    close(overwritten, XS @ PARAMS.w_x[:, H:] + PARAMS.b[None, None, H:])

    def last(h):
        return unroll(cell, with_gate_bias(-1e3), XS[:, 0], carry=MinGRUCarry(h))[0].h

    np.testing.assert_array_equal(last(H_0[0]), H_0[0])
    np.testing.assert_array_equal(jax.jacrev(last)(H_0[0]), np.eye(H))


def test_with_a_constant_gate_it_is_an_exponential_moving_average():
    z = sigmoid(-0.7)
    candidate = np.asarray(XS @ PARAMS.w_x[:, H:] + PARAMS.b[None, None, H:])
    decay = (1 - z) ** np.arange(T - 1, -1, -1)
    want = (1 - z) ** T * H_0 + z * np.einsum("t,tbh->bh", decay, candidate)
    close(unroll(rnnjax.min_gru(H), with_gate_bias(-0.7), XS, carry=MinGRUCarry(H_0))[0].h, want)


def test_jacobian_is_the_product_of_one_minus_z():
    z = sigmoid(np.asarray(XS[:, 0] @ PARAMS.w_x[:, :H] + PARAMS.b[None, :H]))

    def last(h):
        carry = MinGRUCarry(h)
        return unroll(rnnjax.min_gru(H), PARAMS, XS[:, 0], carry=carry, gradient=bptt())[0].h

    close(jax.jacrev(last)(H_0[0]), np.diag(np.prod(1 - z, axis=0)))


def test_positive_candidate_keeps_the_state_positive():
    cell = rnnjax.min_gru(H, "positive")
    ys = unroll(cell, PARAMS, -5 * jnp.abs(XS))[1]
    assert float(ys.min()) > 0
    assert float(unroll(rnnjax.min_gru(H), PARAMS, -5 * jnp.abs(XS))[1].min()) < 0


@candidates
def test_rule_and_linear_form(candidate):
    cell = rnnjax.min_gru(H, candidate)
    report = check(cell, lengths=LENGTHS)
    assert report.passed, str(report)
    assert {row.way for row in report.values} == {"rule", "linear form"}
    assert max(row.difference for row in report.values) < 1e-14
    assert max(row.rule_autodiff for row in report.rows) < 1e-13
    with_resets = check(cell, lengths=LENGTHS, resets=RESETS, differences=False)
    assert with_resets.passed, str(with_resets)


@candidates
def test_linear_form_by_an_associative_scan(candidate):
    cell = rnnjax.min_gru(H, candidate)
    a, b = cell.structure.linear.coefficients(PARAMS, XS)

    def after(first, second):
        return second[0] * first[0], second[0] * first[1] + second[1]

    a, b = jax.lax.associative_scan(after, (a.h, b.h))
    carry, ys = unroll(cell, PARAMS, XS, carry=MinGRUCarry(H_0))
    hs = MinGRUCarry(a * H_0[None] + b)
    close(hs.h[-1], carry.h)
    close(cell.structure.linear.readout(PARAMS, hs, XS), ys)


def test_clip_cuts_what_reaches_the_weights_and_not_the_state():
    def cost(params, carry, gradient):
        last, _ = unroll(rnnjax.min_gru(H), params, XS, carry=carry, gradient=gradient)
        return jnp.sum(last.h)

    grad = jax.grad(cost, (0, 1))
    carry = MinGRUCarry(jnp.asarray(H_0))
    cut_params, cut_carry = grad(PARAMS, carry, bptt(clip=jnp.zeros_like))
    assert not any(np.any(leaf) for leaf in cut_params)
    close(cut_carry.h, grad(PARAMS, carry, bptt())[1].h)


def test_initial_params():
    params = rnnjax.min_gru(H, dtype=jnp.float32).init(jax.random.key(0), D)
    assert params.w_x.shape == (D, 2 * H)
    assert params.w_x.dtype == jnp.float32
    np.testing.assert_array_equal(params.b, np.zeros(2 * H))
    assert np.abs(params.w_x[:, :H] - params.w_x[:, H:]).min() > 1e-4  # drawn block by block


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtype_of_the_params_rules(dtype):
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), PARAMS)
    carry, ys = unroll(rnnjax.min_gru(H), params, XS)
    assert carry.h.dtype == ys.dtype == dtype


def test_wrong_calls():
    with pytest.raises(ValueError, match="hidden must be at least 1"):
        rnnjax.min_gru(0)
    with pytest.raises(ValueError, match=r"candidate must be one of.*did you mean 'positive'"):
        rnnjax.min_gru(H, "positiv")  # pyright: ignore
    with pytest.raises(ValueError, match=r"weights expect \[\.\.\., 3\]"):
        unroll(rnnjax.min_gru(H), PARAMS, jnp.ones((T, B, D + 1)))
