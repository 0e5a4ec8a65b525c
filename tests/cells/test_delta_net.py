"""DeltaNet against its equations, what a memory does, its rule and its linear form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import bptt, unroll
from rnnjax.cells import DeltaNetCarry, DeltaNetParams
from rnnjax.gradients import check

pytestmark = pytest.mark.usefixtures("eager")

T, B, D, E, K, V = 6, 3, 3, 2, 4, 3
RNG = np.random.default_rng(0)
CELL = rnnjax.delta_net(K, V, heads=E)
XS = jnp.asarray(RNG.standard_normal((T, B, D)))
SHAPES = DeltaNetParams((D, E * K), (D, E * K), (D, E * V), (D, E), (E,))
PARAMS = DeltaNetParams(*(jnp.asarray(RNG.standard_normal(shape)) for shape in SHAPES))
S_0 = RNG.standard_normal((B, E, K, V))
LENGTHS = jnp.array([6, 4, 0])
RESETS = jnp.zeros((6, 3), bool).at[2, 0].set(True).at[3, 1].set(True)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


def normalised(a):
    return a / np.sqrt(a @ a + 1e-6)


@pytest.mark.parametrize("beta_max", [1.0, 2.0])
def test_equations_in_numpy(beta_max):
    w_q, w_k, w_v, w_beta, b_beta = map(np.asarray, PARAMS)
    want_s, want_y = S_0.copy(), np.zeros((T, B, E * V))
    for t, b, e in np.ndindex(T, B, E):
        x, keys, values = np.asarray(XS)[t, b], slice(e * K, (e + 1) * K), slice(e * V, (e + 1) * V)
        q, k = normalised(x @ w_q[:, keys]) / np.sqrt(K), normalised(x @ w_k[:, keys])
        beta = beta_max / (1 + np.exp(-(x @ w_beta[:, e] + b_beta[e])))
        s = want_s[b, e]
        s = s + np.outer(k, beta * (x @ w_v[:, values] - s.T @ k))
        want_s[b, e], want_y[t, b, values] = s, s.T @ q
    cell = rnnjax.delta_net(K, V, heads=E, beta_max=beta_max)
    carry, ys = unroll(cell, PARAMS, XS, carry=DeltaNetCarry(S_0))
    close(carry.s, want_s)
    close(ys, want_y)


# A memory to write into: x holds a key, a value and a query, so that the weights pick them. Keys
# are long, for ε to drop out of their norms.
MEMORY = DeltaNetParams(
    w_q=jnp.eye(2 * K + V)[:, K + V :],
    w_k=jnp.eye(2 * K + V)[:, :K],
    w_v=jnp.eye(2 * K + V)[:, K : K + V],
    w_beta=jnp.zeros((2 * K + V, 1)),
    b_beta=jnp.zeros(1),
)
KEYS = 1e5 * np.linalg.qr(RNG.standard_normal((K, K)))[0]


def remember(keys, values, query, b_beta=1e3, beta_max=1.0, carry=None):
    """Write the pairs one after the other, reading at `query` each time: S and the reads."""
    xs = [np.concatenate([k, v, query]) for k, v in zip(keys, values, strict=True)]
    cell = rnnjax.delta_net(K, V, beta_max=beta_max)
    params = MEMORY._replace(b_beta=jnp.full(1, b_beta))
    carry, ys = unroll(cell, params, jnp.asarray(np.array(xs)), carry=carry)
    return carry.s[0], np.sqrt(K) * np.asarray(ys)


def test_what_is_written_at_orthogonal_keys_is_read_back():
    values = RNG.standard_normal((K, V))
    for key, value in zip(KEYS, values, strict=True):
        close(remember(KEYS, values, key)[1][-1], value)


def test_writing_again_replaces_and_a_closed_gate_keeps():
    first, second, other = RNG.standard_normal((3, V))
    keys = KEYS[[0, 1, 0]]
    close(remember(keys, [first, other, second], KEYS[0])[1], [first, first, second])
    close(remember(keys, [first, other, second], KEYS[1])[1], [0 * other, other, other])
    start = DeltaNetCarry(jnp.asarray(S_0[0, :1]))
    kept, _ = remember(keys, [first, other, second], KEYS[1], b_beta=-1e3, carry=start)
    np.testing.assert_array_equal(kept, S_0[0, 0])


def test_beta_of_two_reflects():
    start = DeltaNetCarry(jnp.asarray(S_0[0, :1]))
    nothing = np.zeros((2, V))
    once, _ = remember(KEYS[[0]], nothing[:1], KEYS[0], beta_max=2.0, carry=start)
    twice, _ = remember(KEYS[[0, 0]], nothing, KEYS[0], beta_max=2.0, carry=start)
    unit = KEYS[0] / np.linalg.norm(KEYS[0])
    close(once, S_0[0, 0] - 2 * np.outer(unit, unit @ S_0[0, 0]))
    close(twice, S_0[0, 0])


def test_a_step_is_a_gradient_step_on_the_error_at_the_key():
    z = CELL.rule.project(PARAMS, XS[0, 0])
    s = jnp.asarray(S_0[0])

    def error(s):
        return sum(jnp.sum((z.v[e] - s[e].T @ z.k[e]) ** 2) / 2 for e in range(E))

    want = s - z.beta[..., None] * jax.grad(error)(s)
    close(CELL.step(PARAMS, DeltaNetCarry(s), XS[0, 0])[0].s, want)


def test_heads_run_side_by_side():
    ys = unroll(CELL, PARAMS, XS)[1]
    for e in range(E):
        weights = (w.reshape(D, E, -1)[:, e] for w in PARAMS[:4])
        own = DeltaNetParams(*weights, PARAMS.b_beta[e : e + 1])
        close(unroll(rnnjax.delta_net(K, V), own, XS)[1], ys[..., e * V : (e + 1) * V])


def test_rule_and_linear_form():
    report = check(CELL, lengths=LENGTHS)
    assert report.passed, str(report)
    assert {row.way for row in report.values} == {"rule", "linear form"}
    assert max(row.difference for row in report.values) < 1e-13
    assert max(row.rule_autodiff for row in report.rows) < 1e-13
    with_resets = check(CELL, lengths=LENGTHS, resets=RESETS, differences=False)
    assert with_resets.passed, str(with_resets)


def test_rule_with_negative_eigenvalues_and_one_head():
    report = check(rnnjax.delta_net(3, beta_max=2.0), differences=False)
    assert report.passed, str(report)


def test_linear_form_by_an_associative_scan():
    a, b = CELL.structure.linear.coefficients(PARAMS, XS)
    assert a.s.shape == (T, B, E, K, K)

    def after(first, second):
        return second[0] @ first[0], second[0] @ first[1] + second[1]

    a, b = jax.lax.associative_scan(after, (a.s, b.s))
    memories = DeltaNetCarry(a @ S_0[None] + b)
    carry, ys = unroll(CELL, PARAMS, XS, carry=DeltaNetCarry(S_0))
    close(memories.s[-1], carry.s)
    close(CELL.structure.linear.readout(PARAMS, memories, XS), ys)


def test_zero_inputs_write_nothing_and_have_finite_gradients():
    def cost(params, xs):
        carry, ys = unroll(CELL, params, xs, carry=DeltaNetCarry(S_0), gradient=bptt())
        return jnp.sum(ys) + jnp.sum(carry.s**2), carry

    gradients, carry = jax.grad(cost, (0, 1), has_aux=True)(PARAMS, jnp.zeros((T, B, D)))
    np.testing.assert_array_equal(carry.s, S_0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("scale", [1e15, 1e25])
def test_large_inputs_have_outputs_and_gradients(scale):
    """In float32, where squares of 2e19, and cubes of the inverse norm of 1e15, are beyond it."""
    params, xs, weights = (
        jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), tree)
        for tree in (PARAMS, XS * scale, RNG.standard_normal((T, B, E * V)))
    )

    def cost(params, xs, gradient):
        return jnp.sum(weights / scale * unroll(CELL, params, xs, gradient=gradient)[1])

    at = jax.value_and_grad(cost, argnums=(0, 1))
    wide = jax.tree.map(lambda a: jnp.asarray(a, float), (params, xs))
    want = jax.tree.leaves(at(*wide, rnnjax.autodiff()))
    for gradient in (rnnjax.autodiff(), bptt()):
        for got, exact in zip(jax.tree.leaves(at(params, xs, gradient)), want, strict=True):
            assert got.dtype == jnp.float32
            assert np.linalg.norm(got - exact) <= 1e-5 * np.linalg.norm(exact)


def test_clip_cuts_what_reaches_the_weights_and_not_the_memory():
    def cost(params, carry, gradient):
        return jnp.sum(unroll(CELL, params, XS, carry=carry, gradient=gradient)[0].s)

    grad = jax.grad(cost, (0, 1))
    carry = DeltaNetCarry(jnp.asarray(S_0))
    cut_params, cut_carry = grad(PARAMS, carry, bptt(clip=jnp.zeros_like))
    assert not any(np.any(leaf) for leaf in cut_params)
    close(cut_carry.s, grad(PARAMS, carry, bptt())[1].s)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtype_of_the_params_rules(dtype):
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), PARAMS)

    def cost(params):
        carry, ys = unroll(CELL, params, XS, gradient=bptt())
        return jnp.sum(ys.astype(jnp.float32)), (carry, ys)

    gradients, values = jax.eval_shape(jax.grad(cost, has_aux=True), params)
    assert {leaf.dtype for leaf in jax.tree.leaves((gradients, values))} == {jnp.dtype(dtype)}


def test_values_are_as_long_as_keys_by_default():
    cell = rnnjax.delta_net(K)
    params = cell.init(jax.random.key(0), D)
    assert unroll(cell, params, XS)[1].shape == (T, B, K)
    np.testing.assert_array_equal(params.b_beta, [0.0])


def test_wrong_calls():
    with pytest.raises(ValueError, match="key_size must be at least 1"):
        rnnjax.delta_net(0)
    with pytest.raises(TypeError, match="value_size must be an int"):
        rnnjax.delta_net(K, 2.0)  # pyright: ignore
    with pytest.raises(ValueError, match="heads must be at least 1"):
        rnnjax.delta_net(K, heads=0)
    for beta_max in (0.0, 2.5):
        with pytest.raises(ValueError, match=r"beta_max is the upper bound of β, in \(0, 2\]"):
            rnnjax.delta_net(K, beta_max=beta_max)
    with pytest.raises(ValueError, match=r"weights expect \[\.\.\., 3\]"):
        unroll(CELL, PARAMS, jnp.ones((T, B, D + 1)))
