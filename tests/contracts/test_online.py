"""Online algorithms over the table of cells: what they equal, and that they differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_table import ROWS, D, H
from problems import assert_close, at, difference, problem, weights

import rnnjax
from rnnjax import online
from rnnjax._leaves import inexact
from rnnjax._types import known
from rnnjax.online._rows import linearised

pytestmark = pytest.mark.usefixtures("eager")

STEPS = 2  # from a carry that is not zero: each recursion is used once
UNITWISE = [  # one of each factory and form
    *("vanilla_tanh", "lstm", "peephole_lstm", "lstm_1997", "gru_after"),
    *("ctrnn_current", "ctrnn_rate", "indrnn", "unicornn", "min_gru", "identity_rnn"),
]


def example(name):
    """One example of a row, without batch axes."""
    cell, params, xs, carry, _ = problem(name)
    return cell, params, at(xs, slice(STEPS), 0), at(carry, 0)


def y_ct(t, y_t):
    """Of `loss(t, y_t)`."""
    return jax.tree.map(lambda leaf: weights(t, leaf) * (1 + leaf), y_t)


def loss(t, y_t):
    terms = (jnp.sum(jnp.real(weights(t, y) * (y + y * y / 2))) for y in jax.tree.leaves(y_t))
    return sum(terms)


def along(algorithm, cell, params, xs, carry):
    """The gradient of Σ loss, and the last state."""
    learn, total = online.learner(cell, algorithm), None
    state = learn.init(params, at(xs, 0), carry=carry)
    for t in range(len(jax.tree.leaves(xs)[0])):
        state, y_t = learn.step(params, state, at(xs, t))
        part = learn.gradient(state, y_ct(t, y_t))
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    return total, state


def by_learner(name, algorithm):
    return along(algorithm, *example(name))[0]


def by_autodiff(name, steps=STEPS, pass_on=lambda carry: carry):
    cell, params, xs, carry = example(name)

    def cost(params):
        now, total = carry, 0.0
        for t in range(steps):
            now, y_t = cell.step(params, pass_on(now), at(xs, t))
            total = total + loss(t, y_t)
        return total

    return jax.grad(cost)(params)


def one_step(name):
    return by_autodiff(name, pass_on=jax.lax.stop_gradient)


@pytest.mark.parametrize("name", ROWS)
def test_rtrl_is_the_exact_gradient(name):
    assert_close(by_learner(name, online.rtrl()), by_autodiff(name), 1e-10)


def in_units(name, own_weights):
    """The recursion in full, its entries outside the parameter's own unit dropped at every step."""
    cell, params, xs, carry = example(name)
    matrix, total = None, None
    for t in range(STEPS):
        step = linearised(cell, params, carry, at(xs, t))
        eye = jnp.eye(step.rows.shape[0])
        direct, jacobian = jax.vmap(step.pull_back)(eye)
        units = inexact(carry)[0].shape[0]
        size = jacobian.shape[1]
        if not own_weights:  # what goes through recurrent weights is what vanishes without them
            cut = {name: jnp.zeros_like(getattr(params, name)) for name in known(cell).mixing}
            jacobian = cut_jacobian(cell, params, cut, carry, at(xs, t))
        same = np.arange(eye.shape[0])[:, None] % units == np.arange(size)[None] % units

        def one(i, m, jacobian=jacobian, same=same, size=size, units=units):
            own = np.arange(i.shape[0])[:, None] % units == np.arange(i.shape[-1])[None] % units
            own = own.reshape(i.shape[0], *[1] * (i.ndim - 2), i.shape[-1])
            moved = jnp.tensordot(np.where(same, jacobian, 0), m[:size], 1)
            return np.where(own, moved + i, 0)

        matrix = jax.tree.map(np.zeros_like, direct) if matrix is None else matrix
        matrix = jax.tree.map(one, direct, matrix)
        carry = step.carry
        ct = of_rows(cell, carry, y_ct(t, step.y_t))
        part = jax.tree.map(lambda m, ct=ct: jnp.tensordot(ct, m, 1), matrix)
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    return total


def of_rows(cell, carry, ct):
    """The cotangent of y_t as one of the rows (s_t, y_t)."""
    name = known(cell).output
    parts = [np.zeros(leaf.size) for leaf in inexact(carry)]
    if name is None:
        return np.concatenate([*parts, *map(np.ravel, jax.tree.leaves(ct))])
    parts[carry._fields.index(name)] = np.asarray(ct)
    return np.concatenate(parts)


def masked(cell, params, xs, carry, n):
    """SnAp-n by full matrices: what no path of n steps reaches is dropped after every step."""
    rng = np.random.default_rng(5)

    def derivatives(params, carry, x_t):
        step = linearised(cell, params, carry, x_t)
        return step, *jax.vmap(step.pull_back)(jnp.eye(step.rows.shape[0]))

    def flat(direct):
        return np.concatenate([i.reshape(i.shape[0], -1) for i in jax.tree.leaves(direct)], 1)

    reach, moves = 0, 0
    for _ in range(4):
        noise = [
            jax.tree.map(lambda a: a + rng.normal(size=a.shape), tree)
            for tree in (params, carry, at(xs, 0))
        ]
        _, direct, jacobian = derivatives(*noise)
        reach, moves = reach + np.abs(flat(direct)), moves + np.abs(jacobian)
    for _ in range(n - 1):
        reach = reach + moves @ reach[: moves.shape[1]]
    matrix, total = np.zeros_like(reach), 0.0
    for t in range(len(xs)):
        step, direct, jacobian = derivatives(params, carry, at(xs, t))
        matrix = (jacobian @ matrix[: moves.shape[1]] + flat(direct)) * (reach > 0)
        carry = step.carry
        total = total + of_rows(cell, carry, y_ct(t, step.y_t)) @ matrix
    return total, np.count_nonzero(reach)


def cut_jacobian(cell, params, cut, carry, x_t):
    """J without the recurrent weights, at the pre-activations that there are with them."""
    rule = cell.rule
    _, tape = rule.forward(params, carry, rule.project(params, x_t))
    leaves = inexact(carry)
    count = len(leaves) + (known(cell).output is None)
    rows = []
    for row in np.eye(count * leaves[0].size).reshape(-1, count, leaves[0].size):
        own = row[len(leaves)] if count > len(leaves) else np.zeros(leaves[0].size)
        ct = type(carry)(*[*row[: len(leaves)], *[None] * (len(carry) - len(leaves))])
        back = rule.backward(params._replace(**cut), tape, ct, own, lambda d: d)[0]
        rows.append(np.concatenate(jax.tree.leaves(back)))
    return np.stack(rows)


@pytest.mark.parametrize("name", UNITWISE)
def test_snap_1_keeps_the_parameters_own_unit(name):
    assert_close(by_learner(name, online.snap(1)), in_units(name, own_weights=True))


@pytest.mark.parametrize("name", ["lstm", "gru_after", "ctrnn_current"])
def test_eprop_keeps_the_memory_within_a_unit(name):
    assert_close(by_learner(name, online.eprop()), in_units(name, own_weights=False))


@pytest.mark.parametrize("name", ["indrnn", "min_gru", "identity_rnn", "lru"])
def test_snap_1_is_exact_without_recurrent_weights(name):
    assert_close(by_learner(name, online.snap(1)), by_autodiff(name))


@pytest.mark.parametrize("name", ["vanilla_tanh", "lstm", "gru_before"])
def test_snap_2_is_exact_in_a_dense_net(name):
    assert_close(by_learner(name, online.snap(2)), by_autodiff(name))


def test_a_unit_without_memory_leaves_eprop_the_gradient_of_one_step():
    assert_close(by_learner("vanilla_tanh", online.eprop()), one_step("vanilla_tanh"))


@pytest.mark.parametrize(("name", "n"), [("gru_before", 1), ("stack_of_two", 1), ("chain", 2)])
def test_snap_keeps_what_n_steps_reach(name, n):
    if name == "chain":  # unit k reads unit k - 1 alone: in n steps a parameter reaches n units
        cell = rnnjax.wrap(rnnjax.vanilla(4), along_a_chain)
        params, carry = cell.init(jax.random.key(0), 2), rnnjax.vanilla(4).initial_carry
        params = jax.tree.map(lambda p: p + 0.3, params)
        xs, carry = np.random.default_rng(0).normal(size=(4, 2)), carry(params)
    else:
        cell, params, xs, carry = example(name)
    want, entries = masked(cell, params, xs, carry, n)
    total, state = along(online.snap(n), cell, params, xs, carry)
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(total)]
    assert_close(np.concatenate(leaves), want)
    held = sum(leaf.size for leaf in jax.tree.leaves(state.influence))
    size = sum(leaf.size for leaf in jax.tree.leaves(carry))
    assert entries <= held <= 3 * entries < 2.5 * size * want.size


def along_a_chain(step):
    mask = np.eye(4, k=1)
    return lambda params, carry, x_t: step(params._replace(w_h=params.w_h * mask), carry, x_t)


LEAKY = rnnjax.fixed_dt(rnnjax.ctrnn(H, leak="rate", tau=4.0), 1.0)
NO_LEAK = rnnjax.fixed_dt(rnnjax.ctrnn(H, leak="rate", tau=1.0), 1.0)


def of_cell(cell, gradient):
    params = cell.init(jax.random.key(0), D)
    xs = np.random.default_rng(0).normal(size=(4, D))
    return jax.grad(lambda p: loss(0, rnnjax.unroll(cell, p, xs, gradient=gradient)[1]))(params)


def test_rflo_is_the_recursion_of_the_paper():
    params = LEAKY.init(jax.random.key(0), D)
    xs, alpha = np.random.default_rng(0).normal(size=(4, D)), 1 / 4
    h, trace, total = np.zeros(H), 0.0, 0.0
    ys = rnnjax.unroll(LEAKY, params, xs)[1]
    for t, x_t in enumerate(xs):
        rate = np.tanh(x_t @ params.w_x + h @ params.w_h + params.b)
        trace = (1 - alpha) * trace + alpha * np.outer(np.append(h, [*x_t, 1]), 1 - rate**2)
        h = (1 - alpha) * h + alpha * rate
        total = total + trace * np.asarray(y_ct(0, ys))[t]
    got = of_cell(LEAKY, online.rflo())
    assert_close((got.w_h, got.w_x, got.b), (total[:H], total[H:-1], total[-1]))


def test_rflo_without_a_leak_is_the_gradient_of_one_step():
    want = of_cell(NO_LEAK, rnnjax.truncated(1))
    assert_close(of_cell(NO_LEAK, online.rflo()), want)
    assert difference(of_cell(NO_LEAK, rnnjax.bptt()), want) > 0.01


def test_algorithms_differ_on_a_window_and_the_net_is_alive():
    ys = rnnjax.unroll(LEAKY, LEAKY.init(jax.random.key(0), D), np.ones((4, D)))[1]
    assert np.abs(ys).min() > 0.01
    assert np.abs(ys).max() < 0.95
    key = jax.random.key(1)
    values = [online.snap(1), online.rflo(), online.uoro(key), online.kf_rtrl(key), rnnjax.bptt()]
    values.append(rnnjax.truncated(1))
    gradients = [of_cell(LEAKY, value) for value in values]
    for i, one in enumerate(gradients):
        for other in gradients[:i]:
            assert difference(one, other) > 1e-3
