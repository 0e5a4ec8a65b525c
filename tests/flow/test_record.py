"""∂C/∂carry_t: against hand-derived BPTT, against nudged Python loops, and where it is zero."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, normal, recorded

import rnnjax
from rnnjax import Cell
from rnnjax.flow import record

eagerly = pytest.mark.usefixtures("eager")

T, B, D, H = 6, 3, 2, 4


def problem(cell, seed=0):
    return drawn(cell, D), normal(1, T, B, D), jax.random.key(seed)


def cost(carry, ys):
    """Different weights everywhere, curved, on every output and every float of the last carry."""
    total = 0.0
    floats = [x for x in jax.tree.leaves((carry, ys)) if jnp.issubdtype(x.dtype, jnp.floating)]
    for k, x in enumerate(floats):
        weights = jnp.sin(1.3 * k + jnp.arange(x.size)).reshape(x.shape)
        total += jnp.sum(weights * (x + x * x))
    return total


def by_rule(cell, params, xs, carry):
    """∂C/∂carry_t from the cell's own backward pass, in a Python loop."""
    tapes, ys = [], []
    for x_t in xs:
        (carry, y_t), tape = cell.rule.forward(params, carry, cell.rule.project(params, x_t))
        tapes.append(tape)
        ys.append(y_t)
    carry_ct, ys_ct = jax.grad(cost, (0, 1))(carry, jnp.stack(ys))
    found = []
    for t in reversed(range(T)):
        found.insert(0, carry_ct._replace(h=carry_ct.h + ys_ct[t]))
        carry_ct, _ = cell.rule.backward(params, tapes[t], carry_ct, ys_ct[t], lambda delta: delta)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)


def assert_equal(got, want, tolerance=1e-12):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * (np.abs(b).max() or 1.0))


@pytest.mark.parametrize(
    "cell",
    [rnnjax.vanilla(H), rnnjax.vanilla(H, "relu"), rnnjax.gru(H), rnnjax.identity_rnn(H)],
    ids=["tanh", "relu", "gru", "identity"],
)
@eagerly
def test_h_is_the_signal_of_hand_derived_bptt(cell):
    params, xs, _ = problem(cell)
    got = recorded(cell, params, xs, cost)
    want = jax.jit(by_rule, static_argnums=0)(cell, params, xs, cell.initial_carry(params, (B,)))
    assert_equal(got.carry_ct, want)
    carry, ys = rnnjax.unroll(cell, params, xs)
    np.testing.assert_allclose(got.cost, cost(carry, ys), rtol=1e-14)


@eagerly
def test_lstm_is_bptt_and_c_counts_its_way_through_h():
    cell = rnnjax.lstm(H)
    params, xs, _ = problem(cell)
    carry = cell.initial_carry(params, (B,))
    got = recorded(cell, params, xs, cost).carry_ct
    want = jax.jit(by_rule, static_argnums=0)(cell, params, xs, carry)
    # The rule passes on the part of ∂C/∂c_t that does not go through h_t.
    c = []
    for t in range(T):
        z = np.asarray(xs[t] @ params.w_x + carry.h @ params.w_h) + np.asarray(params.b)
        carry, _ = cell.step(params, carry, xs[t])
        slope = 1 - np.tanh(carry.c) ** 2
        c.append(want.c[t] + np.asarray(want.h[t]) / (1 + np.exp(-z[:, 3 * H :])) * slope)
    assert_equal(got, want._replace(c=np.array(c)))


def nudged_lstm(params, xs, cost, nudges):
    """The LSTM's equations written out, with e_t added to c_t and to h_t as they arise."""
    h = c = jnp.zeros((B, H))
    ys = []
    for x_t, e_h, e_c in zip(xs, *nudges, strict=True):
        z = x_t @ params.w_x + h @ params.w_h + params.b[None]
        i, f, g, o = jnp.split(z, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g) + e_c
        h = jax.nn.sigmoid(o) * jnp.tanh(c) + e_h
        ys.append(h)
    return cost(rnnjax.cells.LSTMCarry(h, c), jnp.stack(ys))


def test_lstm_is_the_derivative_of_a_nudged_loop():
    cell = rnnjax.lstm(H)
    params, xs, _ = problem(cell)
    zeros = jnp.zeros((T, B, H))
    want = jax.jit(jax.grad(lambda e: nudged_lstm(params, xs, cost, e)))((zeros, zeros))
    got = recorded(cell, params, xs, cost).carry_ct
    assert_equal((got.h, got.c), want)


def test_stack_with_a_jitted_rematerialised_cell_without_a_rule():
    """The upper cell reads the lower h_t in the same step; calls around a step change nothing."""
    inner = rnnjax.gru(H)
    cell = rnnjax.stack(rnnjax.vanilla(H), inner)
    wrapped = rnnjax.wrap(cell, lambda step: jax.jit(jax.checkpoint(step)))
    params, xs, _ = problem(cell)

    def loop(nudges):
        low, high = jnp.zeros((B, H)), rnnjax.cells.GRUCarry(jnp.zeros((B, H)))
        ys = []
        for t in range(T):
            z = xs[t] @ params[0].w_x + low @ params[0].w_h + params[0].b[None]
            low = jnp.tanh(z) + nudges[0][t]
            high, _ = inner.step(params[1], high, low)
            high = rnnjax.cells.GRUCarry(high.h + nudges[1][t])
            ys.append(high.h)
        return cost((rnnjax.cells.VanillaCarry(low), high), jnp.stack(ys))

    zeros = jnp.zeros((T, B, H))
    want = jax.jit(jax.grad(loop))((zeros, zeros))
    for each in (cell, wrapped):
        got = recorded(each, params, xs, cost).carry_ct
        assert_equal((got[0].h, got[1].h), want)


class TwoCarry(NamedTuple):
    h: jax.Array
    kept: jax.Array


def own_cell(step):
    def initial_carry(params, batch_shape, key=None):
        zeros = jnp.zeros((*batch_shape, D))
        return TwoCarry(zeros, zeros + 0.5)

    return Cell(lambda key, size: {"a": jnp.full(size, 0.7)}, initial_carry, step)


@eagerly
def test_an_output_made_from_h_sees_the_nudge_and_a_field_handed_on_is_nudged_on_its_way_out():
    def step(params, carry, x_t):
        h = jnp.tanh(params["a"][None] * carry.h + x_t * carry.kept)
        return TwoCarry(h, carry.kept), h**3

    def loop(nudges):
        h, kept = jnp.zeros((B, D)), jnp.full((B, D), 0.5)
        ys = []
        for x_t, e_h, e_kept in zip(xs, *nudges, strict=True):
            h = jnp.tanh(0.7 * h + x_t * kept) + e_h
            kept = kept + e_kept
            ys.append(h**3)
        return cost(TwoCarry(h, kept), jnp.stack(ys))

    xs = jax.random.normal(jax.random.key(3), (T, B, D))
    zeros = jnp.zeros((T, B, D))
    cell = own_cell(step)
    got = recorded(cell, cell.init(jax.random.key(0), D), xs, cost).carry_ct
    assert_equal(tuple(got), jax.jit(jax.grad(loop))((zeros, zeros)))
    assert np.abs(got.kept).min() > 0


def test_padding_has_no_signal_and_the_rest_is_that_of_the_short_sequence():
    cell = rnnjax.lstm(H)
    params, xs, _ = problem(cell)
    xs = xs.at[4:, 1].set(jnp.nan)
    got = recorded(cell, params, xs, cost, lengths=np.array([T, 4, 0])).carry_ct

    def last(carry, ys):
        return jnp.sum(carry.h * jnp.arange(1.0, H + 1)[None] + carry.c)

    alone = recorded(cell, params, xs[:4, 1:2], last).carry_ct
    both = recorded(cell, params, xs, last, lengths=np.array([T, 4, 0])).carry_ct
    for name in ("h", "c"):
        padded = getattr(both, name)
        np.testing.assert_allclose(padded[:4, 1], getattr(alone, name)[:, 0], rtol=1e-13)
        for found in (padded, getattr(got, name)):
            assert np.all(found[4:, 1] == 0)
            assert np.all(found[:, 2] == 0)
            assert np.all(np.abs(found[:, 0]).sum(-1) > 0)


@eagerly
def test_nothing_crosses_a_reset():
    cell = rnnjax.gru(H)
    params, xs, _ = problem(cell)
    resets = jnp.zeros((T, B), bool).at[3, 1].set(True)
    lengths = np.array([T, 5, 5])
    got = recorded(
        cell, params, xs, lambda carry, ys: jnp.sum(carry.h**2), resets=resets, lengths=lengths
    ).carry_ct.h
    assert np.all(got[:3, 1] == 0)
    alone = recorded(cell, params, xs[3:5, 1:2], lambda carry, ys: jnp.sum(carry.h**2)).carry_ct.h
    np.testing.assert_allclose(got[3:5, 1], alone[:, 0], rtol=1e-13)
    assert np.all(np.abs(got[:, 0]).sum(-1) > 0)


@eagerly
def test_random_cells_have_none_for_their_keys():
    """Zoneout draws its masks from keys in the carry; the rule sees the same masks."""
    cell = rnnjax.zoneout(rnnjax.lstm(H), h=0.3, c=0.4)
    params, xs, key = problem(cell)
    first = cell.initial_carry(params, (B,), key)
    got = recorded(cell, params, xs, cost, key=key).carry_ct
    assert got.keys is None
    again = recorded(cell, params, xs, cost, carry=first).carry_ct
    assert_equal(again, got, 0.0)

    def shifted(e):  # the first nudge is a change of the carry that the second step starts from
        carry, y_1 = cell.step(params, first, xs[0])
        carry = carry._replace(cell=carry.cell._replace(h=carry.cell.h + e))
        carry, ys = rnnjax.unroll(cell, params, xs[1:], carry=carry)
        return cost(carry, jnp.concatenate([(y_1 + e)[None], ys]))

    np.testing.assert_allclose(
        got.cell.h[0], jax.jit(jax.grad(shifted))(jnp.zeros((B, H))), rtol=0, atol=1e-12
    )
    plain = recorded(cell, params, xs, cost).carry_ct  # evaluation: no keys at all
    assert plain.keys is None
    assert np.abs(plain.cell.h - got.cell.h).max() > 1e-3


def test_record_works_inside_jit_and_without_batch_dimensions():
    cell = rnnjax.lstm(H)
    params, xs, _ = problem(cell)

    def signal(params, xs, scale):
        return record(cell, params, xs, lambda carry, ys: scale * jnp.sum(ys**2)).carry_ct

    whole = jax.jit(signal)(params, xs, 2.0)
    assert_equal(whole, signal(params, xs, 2.0), 1e-14)
    single = jax.jit(signal)(params, xs[:, 0], 2.0)
    assert_equal(single, jax.tree.map(lambda leaf: leaf[:, 0], whole), 1e-13)


@eagerly
def test_a_step_that_cannot_be_opened_is_refused():
    def step(params, carry, x_t):
        def up(carry, x_t):
            h = jnp.tanh(carry.h + x_t)
            return TwoCarry(h, carry.kept), h**3

        return jax.lax.cond(jnp.sum(x_t) > 0, up, lambda c, x: (c, x), carry, x_t)

    cell = own_cell(step)
    with pytest.raises(ValueError, match="inside one 'cond' operation"):
        record(cell, cell.init(jax.random.key(0), D), jnp.ones((T, B, D)), cost)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (lambda carry, ys: ys[-1], ValueError, "must return a scalar, got shape"),
        (lambda carry, ys: jnp.sum(ys > 0), TypeError, "must return a real number, got dtype int"),
    ],
)
@eagerly
def test_costs_that_are_not_costs(bad, error, message):
    cell = rnnjax.vanilla(H)
    params, xs, _ = problem(cell)
    with pytest.raises(error, match=message):
        recorded(cell, params, xs, bad)


@pytest.mark.parametrize("shape", [(0, B, D), (T, 0, D)], ids=["no steps", "no examples"])
def test_nothing_in_nothing_out(shape):
    cell = rnnjax.lstm(H)
    params, _, _ = problem(cell)
    xs = jnp.zeros(shape)
    got = recorded(cell, params, xs, lambda carry, ys: jnp.sum(carry.h) + 3.0)
    assert float(got.cost) == 3.0
    assert got.carry_ct.c.shape == (*shape[:2], H)
    assert rnnjax.flow.gradient_norms(got.carry_ct).shape == shape[:2]
    assert rnnjax.flow.jacobians(cell, params, xs).shape == (*shape[:2], 2 * H, 2 * H)
    assert rnnjax.flow.sensitivity(cell, params, xs).shape == (shape[0], *shape[:2])
