"""The continuous-time RNN: both of its models against their equations, against each other and in
the limits that are known.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import autodiff, bptt, unroll
from rnnjax.cells import CTRNNCarry, CTRNNParams, VanillaCarry, VanillaParams
from rnnjax.gradients import check, clip_by_value

pytestmark = pytest.mark.usefixtures("eager")

T, B, D, H = 6, 3, 2, 4
PAIR = ((D,), ())
LEAKS = ["current", "rate"]
TAUS = (0.5, 1.0, 2.0, 4.0)
RNG = np.random.default_rng(0)
ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "identity": lambda z: z,
}


def arrays(*shapes):
    return [jnp.asarray(RNG.standard_normal(shape)) for shape in shapes]


PARAMS = CTRNNParams(*arrays((D, H), (H, H), (H,)), None)
X, H_0 = arrays((T, B, D), (B, H))
DT = jnp.asarray(RNG.uniform(0.05, 0.4, (T, B)))
START = CTRNNCarry(H_0, None)


def assert_close(got, want, rtol=1e-12):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-13)


def cost(carry, ys):
    return jnp.sum(jnp.sin(ys)) + jnp.sum(carry.h**2)


@pytest.mark.parametrize("tau", [0.7, TAUS], ids=["one tau", "tau by unit"])
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("leak", LEAKS)
def test_equations_in_numpy(leak, name, tau):
    phi, h = ACTIVATIONS[name], np.asarray(H_0)
    w_x, w_h, b = map(np.asarray, PARAMS[:3])
    want = []
    for x, dt in zip(np.asarray(X), np.asarray(DT), strict=True):
        change = np.einsum("bd,dh->bh", x, w_x) + b
        if leak == "current":
            change = np.einsum("bg,gh->bh", phi(h), w_h) + change
        else:
            change = phi(np.einsum("bg,gh->bh", h, w_h) + change)
        h = h + dt[:, None] / np.asarray(tau) * (change - h)
        want.append(phi(h) if leak == "current" else h)
    carry, ys = unroll(rnnjax.ctrnn(H, name, leak=leak, tau=tau), PARAMS, (X, DT), carry=START)
    assert_close(ys, np.stack(want))
    assert_close(carry.h, h)


@pytest.mark.parametrize("leak", LEAKS)
def test_a_learned_tau_computes_what_a_fixed_one_does(leak):
    learned = rnnjax.ctrnn(H, leak=leak, tau=TAUS, learn_tau=True)
    log_tau = learned.init(jax.random.key(0), D).log_tau
    assert_close(log_tau, np.log(TAUS))
    fixed = rnnjax.ctrnn(H, leak=leak, tau=TAUS)
    assert fixed.init(jax.random.key(0), D).log_tau is None
    got = unroll(learned, PARAMS._replace(log_tau=log_tau), (X, DT), carry=START)
    assert_close(got, unroll(fixed, PARAMS, (X, DT), carry=START))
    spread = rnnjax.ctrnn(H, tau=2.0, learn_tau=True).init(jax.random.key(0), D).log_tau
    assert_close(spread, np.full(H, np.log(2.0)))


@pytest.mark.parametrize("clip", [None, clip_by_value(0.3)], ids=["whole", "clipped"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_rate_model_with_steps_of_tau_is_the_vanilla_cell(name, clip):
    plain = VanillaParams(*PARAMS[:3])
    dt = jnp.full((T, B), 0.3)

    def value(params, x, carry):
        cell = rnnjax.ctrnn(H, name, leak="rate", tau=0.3)
        return cost(*unroll(cell, params, (x, dt), carry=carry, gradient=bptt(clip)))

    def plain_value(params, x, carry):
        return cost(*unroll(rnnjax.vanilla(H, name), params, x, carry=carry, gradient=bptt(clip)))

    got, (params_ct, x_ct, carry_ct) = jax.value_and_grad(value, (0, 1, 2))(PARAMS, X, START)
    want, (plain_ct, want_x, want_carry) = jax.value_and_grad(plain_value, (0, 1, 2))(
        plain, X, VanillaCarry(H_0)
    )
    assert_close(got, want)
    assert_close((params_ct[:3], x_ct, carry_ct.h), (tuple(plain_ct), want_x, want_carry.h))


@pytest.mark.parametrize("leak", LEAKS)
def test_clip_acts_on_the_error_at_the_current_and_not_on_the_leak(leak):
    cell = rnnjax.ctrnn(H, "identity", leak=leak, tau=2.0)
    xs = X[:1], jnp.ones((1, B))  # α = 1/2

    def value(params, carry):
        gradient = bptt(clip_by_value(0.1))
        return 100 * jnp.sum(unroll(cell, params, xs, carry=carry, gradient=gradient)[1])

    params_ct, carry_ct = jax.grad(value, (0, 1))(PARAMS, START)
    assert_close(params_ct.b, np.full(H, B * 0.1))  # each δ is 50 and clipped to 0.1
    want = 50 + 0.1 * np.asarray(PARAMS.w_h).sum(axis=1)
    assert_close(carry_ct.h, np.broadcast_to(want, (B, H)))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_rate_and_current_models_are_equivalent_for_a_constant_input(name):
    x = jnp.broadcast_to(X[0], X.shape)
    rates, r = unroll(rnnjax.ctrnn(H, name, leak="rate", tau=0.7), PARAMS, (x, DT), carry=START)
    external = x[0] @ PARAMS.w_x + PARAMS.b.reshape(1, H)
    start = CTRNNCarry(H_0 @ PARAMS.w_h + external, None)
    currents, _ = unroll(rnnjax.ctrnn(H, name, tau=0.7), PARAMS, (x, DT), carry=start)
    assert_close(currents.h, rates.h @ PARAMS.w_h + external)
    assert np.abs(r).max() > 0.1


@pytest.mark.parametrize("leak", LEAKS)
def test_without_weights_the_state_decays_by_euler_steps(leak):
    silent = jax.tree.map(jnp.zeros_like, PARAMS)
    cell = rnnjax.ctrnn(H, "identity", leak=leak, tau=0.7)
    carry, _ = unroll(cell, silent, (X, DT), carry=START)
    assert_close(carry.h, np.prod(1 - np.asarray(DT) / 0.7, axis=0)[:, None] * np.asarray(H_0))


@pytest.mark.parametrize("leak", LEAKS)
def test_no_time_no_change(leak):
    cell = rnnjax.ctrnn(H, leak=leak, noise=0.5)
    start = cell.initial_carry(PARAMS, (B,), jax.random.key(0))._replace(h=H_0)

    def last(x, dt):
        return unroll(cell, PARAMS, (x, dt), carry=start)[0].h

    np.testing.assert_array_equal(last(X, jnp.zeros((T, B))), H_0)
    by_dt = jax.grad(lambda dt: jnp.sum(last(X, dt)))(jnp.zeros((T, B)))
    assert np.isfinite(by_dt).all()


@pytest.mark.parametrize(
    ("learn_tau", "tau"),
    [(False, 0.8), (False, TAUS), (True, 0.8)],
    ids=["one", "fixed", "learned"],
)
@pytest.mark.parametrize("leak", LEAKS)
def test_rule_is_right(leak, learn_tau, tau):
    report = check(rnnjax.ctrnn(H, leak=leak, learn_tau=learn_tau, tau=tau), inputs=PAIR)
    assert report.passed, str(report)
    leaves = {row.leaf for row in report.rows}
    assert {"xs[0]", "xs[1]"} <= leaves
    assert ("params.log_tau" in leaves) == learn_tau


@pytest.mark.parametrize("name", ["relu", "sigmoid"])
def test_rule_of_the_current_model_is_right_for_other_activations(name):
    assert check(rnnjax.ctrnn(H, name), inputs=PAIR).passed


@pytest.mark.parametrize("leak", LEAKS)
def test_rule_is_right_with_lengths_and_resets(leak):
    cell = rnnjax.ctrnn(H, leak=leak, tau=TAUS, learn_tau=True)
    resets = jnp.zeros((6, 3), bool).at[2, 0].set(True).at[0, 1].set(True)
    assert check(cell, inputs=PAIR, lengths=jnp.array([6, 4, 0]), resets=resets).passed


@pytest.mark.parametrize(("learn_tau", "hidden"), [(False, H), (True, 1)], ids=["one", "learned"])
@pytest.mark.parametrize("leak", LEAKS)
def test_rule_is_autodiff_with_noise_lengths_and_resets(leak, learn_tau, hidden):
    cell = rnnjax.ctrnn(hidden, leak=leak, tau=0.8, learn_tau=learn_tau, noise=0.3)
    params = cell.init(jax.random.key(0), D)
    resets = jnp.zeros((T, B), bool).at[2, 0].set(True)

    def value(params, xs, gradient):
        options = {"lengths": jnp.array([T, 4, 0]), "resets": resets}
        return cost(*unroll(cell, params, xs, key=jax.random.key(1), gradient=gradient, **options))

    by_rule = jax.jit(jax.grad(value, (0, 1)), static_argnums=2)(params, (X, DT), bptt())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(by_rule))
    by_autodiff = jax.jit(jax.grad(value, (0, 1)), static_argnums=2)(params, (X, DT), autodiff())
    assert_close(by_rule, by_autodiff, rtol=1e-11)


def final_states(leak, sigma, alpha, steps=1, key=0):
    """The last states [4000, 25] of units without weights, and of one α for all steps."""
    cell = rnnjax.ctrnn(25, "identity", leak=leak, tau=2.0, noise=sigma)
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 1))
    xs = jnp.zeros((steps, 4000, 1)), jnp.full((steps, 4000), 2.0 * alpha)
    return unroll(cell, params, xs, key=jax.random.key(key))[0].h


@pytest.mark.parametrize("alpha", [0.05, 0.5])
@pytest.mark.parametrize("leak", LEAKS)
def test_noise_has_the_variance_of_an_euler_maruyama_step(leak, alpha):
    h = final_states(leak, 0.3, alpha)
    want = 2 * alpha * 0.3**2  # 1e5 samples: a standard error of 0.45 % of the variance
    np.testing.assert_allclose(h.var(), want, rtol=0.02)
    np.testing.assert_allclose(h.mean(), 0, atol=0.02 * want**0.5)
    np.testing.assert_allclose(np.corrcoef(h.T) - np.eye(25), 0, atol=0.08)


def test_stationary_noise_has_the_size_sigma():
    alpha = 0.5  # an AR(1) process: Σ_k (1 - α)^2k 2ασ² = σ² / (1 - α/2)
    h = final_states("current", 0.3, alpha, steps=8)
    np.testing.assert_allclose(h.std(), 0.3 / (1 - alpha / 2) ** 0.5, rtol=0.02)


def test_noise_of_the_rate_model_is_inside_its_activation():
    cell = rnnjax.ctrnn(H, "relu", leak="rate", noise=2.0)
    start = cell.initial_carry(PARAMS, (B,), jax.random.key(0))
    rates = unroll(cell, PARAMS, (X, DT), carry=start)[1]
    assert rates.min() >= 0
    plain = unroll(rnnjax.ctrnn(H, "relu", leak="rate"), PARAMS, (X, DT))[1]
    assert np.abs(rates - plain).max() > 0.1


@pytest.mark.parametrize("leak", LEAKS)
def test_noise_is_that_of_its_key_alone(leak):
    cell = rnnjax.ctrnn(H, leak=leak, noise=0.3)
    first, again, other = (
        unroll(cell, PARAMS, (X, DT), key=jax.random.key(k))[1] for k in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).min() > 0
    quiet = unroll(rnnjax.ctrnn(H, leak=leak), PARAMS, (X, DT))[1]
    np.testing.assert_array_equal(unroll(cell, PARAMS, (X, DT))[1], quiet)
    without = unroll(rnnjax.ctrnn(H, leak=leak), PARAMS, (X, DT), key=jax.random.key(0))[1]
    np.testing.assert_array_equal(without, quiet)


def test_noise_differs_by_step_and_example():
    cell = rnnjax.ctrnn(H, "identity", noise=0.3, tau=1.0)
    silent = jax.tree.map(jnp.zeros_like, PARAMS)
    xs = jnp.zeros((T, B, D)), jnp.ones((T, B))  # α = 1: each state is its own step's noise
    ys = np.asarray(unroll(cell, silent, xs, key=jax.random.key(0))[1])
    assert len(np.unique(ys)) == T * B * H


def test_frozen_examples_keep_their_state():
    cell = rnnjax.ctrnn(H, leak="rate", noise=0.3)
    key, lengths = jax.random.key(0), jnp.array([T, 4, 0])
    carry, ys = unroll(cell, PARAMS, (X, DT), key=key, lengths=lengths)
    # XLA may compute a state twice, for the output and for the carry, with another rounding.
    np.testing.assert_allclose(carry.h[1], ys[3, 1], rtol=1e-14)
    np.testing.assert_array_equal(carry.h[2], np.zeros(H))
    np.testing.assert_array_equal(ys[4:, 1], np.zeros((2, H)))
    whole = unroll(cell, PARAMS, (X, DT), key=key)[1]
    assert_close((ys[:, 0], ys[:4, 1]), (whole[:, 0], whole[:4, 1]))


def test_runs_below_another_cell_and_without_a_batch():
    cell = rnnjax.stack(rnnjax.ctrnn(H, tau=2.0), rnnjax.gru(3))
    params = cell.init(jax.random.key(0), (D, ()))
    _, ys = unroll(cell, params, (X, DT))
    alone = unroll(cell, params, (X[:, 1], DT[:, 1]))[1]
    assert alone.shape == (T, 3)
    assert_close(alone, ys[:, 1])


@pytest.mark.parametrize("inputs", [D, (D, ()), ((D,), ())], ids=str)
def test_init_takes_the_features_of_a_pair(inputs):
    params = rnnjax.ctrnn(H).init(jax.random.key(0), inputs)
    want = rnnjax.ctrnn(H).init(jax.random.key(0), D)
    jax.tree.map(np.testing.assert_array_equal, params, want)


CELL = rnnjax.ctrnn(H)


def step(x_t):
    return CELL.step(PARAMS, START, x_t)


KEY, FIXED = jax.random.key(0), rnnjax.fixed_dt(CELL, 0.1)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: rnnjax.ctrnn(0), ValueError, "hidden must be at least 1"),
        (lambda: rnnjax.ctrnn(H, "tan"), ValueError, "did you mean 'tanh'"),
        (lambda: rnnjax.ctrnn(H, leak="rates"), ValueError, "did you mean 'rate'"),
        (lambda: rnnjax.ctrnn(H, tau=0.0), ValueError, "tau must be positive"),
        (lambda: rnnjax.ctrnn(H, tau=(1.0, 2.0)), ValueError, "each of the 4 units, got 2"),
        (lambda: rnnjax.ctrnn(H, tau=(1.0, 2.0, -1.0, 1.0)), ValueError, "tau must be positive"),
        (lambda: rnnjax.ctrnn(H, noise=-0.1), ValueError, "noise is a standard deviation"),
        (lambda: rnnjax.ctrnn(H, noise=np.nan), ValueError, "noise must be a real number"),
        (lambda: CELL.init(jax.random.key(0), 0), ValueError, "input_size must be at least 1"),
        (lambda: CELL.init(jax.random.key(0), (-1, ())), ValueError, "at least 1"),
        (lambda: CELL.init(jax.random.key(0), 2.0), ValueError, "features are D"),
        (lambda: CELL.init(jax.random.key(0), (D, 1)), ValueError, "features are D"),
        (lambda: CELL.init(jax.random.key(0), (4, 5, 3)), ValueError, "features are D"),
        (lambda: unroll(CELL, PARAMS, X), ValueError, r"pass \(xs, dt\).*fixed_dt\(cell, dt\)"),
        (lambda: unroll(CELL, PARAMS, [X, DT]), ValueError, r"is a list.*pass \(xs, dt\)"),
        (lambda: unroll(CELL, PARAMS, (X, X, DT)), ValueError, r"pass \(xs, dt\)"),
        (lambda: unroll(CELL, PARAMS, (X, 0.1)), ValueError, r"a leaf of xs is 0\.1: expected \[T"),
        (lambda: rnnjax.stack(rnnjax.gru(3), CELL).init(KEY, 2), TypeError, r"one array.*fixed_dt"),
        (lambda: FIXED.step(PARAMS, START, (X[0], DT[0])), TypeError, "its own, got a tuple"),
        (lambda: unroll(CELL, PARAMS, (X, DT[..., None])), ValueError, "leading"),
        (lambda: unroll(CELL, PARAMS, (X, DT[:4])), ValueError, "leading"),
        (lambda: unroll(CELL, PARAMS, (X[..., :1], DT)), ValueError, r"\[\.\.\., 2\]"),
        (lambda: unroll(CELL, PARAMS, (X, jnp.ones((T, B), int))), TypeError, "Δt has dtype int"),
        (lambda: unroll(CELL, PARAMS, (X > 0, DT)), TypeError, "xs has dtype bool"),
        (lambda: step(X[0]), TypeError, "reads pairs"),
        (lambda: step((X[0], X[0])), ValueError, r"give one Δt for each input, here \(3,\)"),
        (lambda: step((X[0], (DT[0],))), TypeError, "Δt must be one array"),
        (lambda: step(((X[0],), DT[0])), TypeError, "one array a step, got a tuple"),
    ],
)
def test_wrong_calls_say_what_is_wrong(call, error, match):
    with pytest.raises(error, match=match):
        call()
