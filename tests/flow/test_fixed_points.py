"""Fixed points against closed forms, brute force, and nets made to have them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, normal
from scipy.optimize import brentq, fsolve

import rnnjax
from rnnjax import _random as random
from rnnjax.cells import VanillaParams
from rnnjax.flow import fixed_points, relu_fixed_points

ROOT = brentq(lambda h: np.tanh(2 * h) - h, 0.5, 1)


def flip_flops(units=3):
    """Each unit remembers the sign of its last pulse: h = tanh(2 h + 4 x)."""
    params = VanillaParams(4 * jnp.eye(units), 2 * jnp.eye(units), jnp.zeros(units))
    return rnnjax.vanilla(units), params


def at(cell, params, h):
    return cell.initial_carry(params, h.shape[:1])._replace(h=h)


def test_three_flip_flops_have_eight_stable_points_among_27():
    cell, params = flip_flops()
    found = fixed_points(cell, params, jnp.zeros(3), at(cell, params, 0.9 * normal(0, 400, 3)))
    assert set(found.labels) == {"fixed"}
    got = sorted(map(tuple, found.states.h.round(9) + 0.0))
    want = sorted(itertools.product((-ROOT, 0.0, ROOT), repeat=3))
    np.testing.assert_allclose(got, want, atol=1e-9)
    assert found.stable.sum() == 8
    np.testing.assert_allclose(np.abs(found.states.h[found.stable]), ROOT, rtol=1e-12)
    slopes = 2 * (1 - found.states.h**2)
    want = -np.sort(-np.abs(slopes), axis=1)
    np.testing.assert_allclose(np.abs(found.eigenvalues), want, rtol=1e-9)
    assert found.counts.sum() == 400
    assert found.speeds.max() < 1e-12


def test_an_input_is_part_of_its_point():
    cell, params = flip_flops(1)
    xs, starts = jnp.array([[0.0], [0.0], [1.0]]), jnp.array([[0.9], [0.8], [0.9]])
    found = fixed_points(cell, params, xs, at(cell, params, starts))
    assert found.counts.tolist() == [2, 1]
    assert found.inputs.tolist() == [[0.0], [1.0]]
    pulsed = brentq(lambda h: np.tanh(2 * h + 4) - h, 0.5, 1)
    np.testing.assert_allclose(found.states.h[:, 0], [ROOT, pulsed], rtol=1e-12)


def test_the_state_of_an_lstm_is_h_and_c():
    cell = rnnjax.lstm(2)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), drawn(cell, 1))
    starts = rnnjax.LSTMCarry(*jnp.float32(normal(1, 2, 20, 2)))
    found = fixed_points(cell, params, jnp.ones(1), starts)
    assert found.eigenvalues.shape[1] == 4
    assert found.labels[0] == "fixed"
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
    point = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), found.states)
    again = cell.step(wide, point, jnp.ones(1))[0]
    np.testing.assert_allclose(again.h, point.h, atol=1e-12)
    np.testing.assert_allclose(again.c, point.c, atol=1e-12)
    flat = jax.jacfwd(
        lambda s: jnp.concatenate(cell.step(wide, rnnjax.LSTMCarry(*s), jnp.ones(1))[0])
    )
    jacobian = np.concatenate(flat(tuple(point)), axis=1)
    want = np.sort(np.abs(np.linalg.eigvals(jacobian)))[::-1]
    np.testing.assert_allclose(np.abs(found.eigenvalues[0]), want, rtol=1e-8)


def test_slow_points_and_searches_that_are_cut_short_are_told_apart():
    """h = h + (h² + 0.01) / 10 comes to rest nowhere, and is slowest at 0."""

    def step(params, carry, x_t):
        del x_t
        h = carry + params * (carry**2 + 0.01)
        return h, h

    cell = rnnjax.Cell(
        lambda key, inputs: None, lambda params, shape, key=None: jnp.zeros((*shape, 1)), step
    )
    starts = jnp.array([[-0.3], [0.2]])
    found = fixed_points(cell, jnp.array(0.1), jnp.zeros(1), starts)
    assert found.labels.tolist() == ["slow"]
    assert not found.stable[0]
    np.testing.assert_allclose(found.speeds, 0.1 * 0.01, rtol=1e-9)
    np.testing.assert_allclose(found.states, 0, atol=1e-5)
    short = fixed_points(cell, jnp.array(0.1), jnp.zeros(1), starts, max_steps=1)
    assert set(short.labels) == {"not converged"}


@pytest.mark.parametrize(
    ("tau", "dt"), [((20.0, 1e4), 0.1), ((20.0, 2e4), 0.1), ((1000.0, 1000.0), 0.01)], ids=str
)
def test_small_steps_make_no_slow_points(tau, dt):
    cell = rnnjax.fixed_dt(rnnjax.ctrnn(2, tau=tau), dt)
    params = cell.init(jax.random.key(0), 1)
    params = params._replace(
        w_h=jnp.array([[0.5, 0.3], [0.2, 0.9]]), b=jnp.array([0.3, -0.2], params.b.dtype)
    )
    rest = fsolve(lambda h: np.tanh(h) @ params.w_h + params.b - h, [0.4, -0.5], xtol=1e-13)
    found = fixed_points(cell, params, jnp.zeros(1), at(cell, params, normal(2, 12, 2)))
    assert (found.labels.tolist(), found.counts.tolist()) == (["fixed"], [12])
    np.testing.assert_allclose(found.states.h, rest[None], atol=1e-6)


def test_a_gate_that_is_nearly_shut_makes_no_slow_points():
    params = rnnjax.cells.GRUParams(
        jnp.zeros((1, 3)), jnp.zeros((1, 3)), jnp.array([0.0, 14.0, 0.5]), jnp.zeros(1)
    )
    cell = rnnjax.gru(1)  # h = z h + (1 - z) tanh(0.5), 1 - z = 8e-7
    starts = at(cell, params, jnp.linspace(-1.0, 1.0, 5)[:, None])
    found = fixed_points(cell, params, jnp.zeros(1), starts)
    assert (found.labels.tolist(), found.counts.tolist()) == (["fixed"], [5])
    np.testing.assert_allclose(found.states.h, np.tanh(0.5), atol=1e-6)


def test_the_ghost_of_a_fixed_point_is_slow():
    def step(params, h, x_t):
        return h + 0.1 * (h**2 + 0.01), h

    cell = rnnjax.Cell(
        lambda key, inputs: jnp.ones(()), lambda params, batch: jnp.zeros((*batch, 1)), step
    )
    found = fixed_points(cell, jnp.ones(()), jnp.zeros(1), jnp.linspace(-1.0, 1.0, 7)[:, None])
    assert (found.labels.tolist(), found.counts.tolist()) == (["slow"], [7])
    np.testing.assert_allclose(found.states, 0, atol=1e-7)
    np.testing.assert_allclose(found.speeds, 1e-3, rtol=1e-9)


def test_many_units_are_searched_start_by_start_with_the_same_ends():
    units = 66
    cell = rnnjax.vanilla(units)
    params = VanillaParams(jnp.zeros((1, units)), 0.5 * jnp.eye(units), jnp.ones(units))
    found = fixed_points(cell, params, jnp.zeros(1), at(cell, params, normal(3, 3, units)))
    assert (found.labels.tolist(), found.counts.tolist()) == (["fixed"], [3])
    root = brentq(lambda h: np.tanh(0.5 * h + 1) - h, 0, 1)
    np.testing.assert_allclose(found.states.h, root, rtol=1e-9)


def test_a_cell_with_time_steps_takes_the_pair():
    cell = rnnjax.ctrnn(2, tau=100.0)
    params = cell.init(jax.random.key(0), 1)
    starts = at(cell, params, normal(4, 3, 2))
    found = fixed_points(cell, params, (jnp.zeros(1), 20), starts)
    np.testing.assert_allclose(found.speeds, 0, atol=1e-9)
    with pytest.raises(
        ValueError, match=r"pass the pair \(x, Δt\), or make the cell rnnjax.fixed_dt"
    ):
        fixed_points(cell, params, jnp.zeros(1), starts)


def test_cycles_are_fixed_points_of_more_steps():
    """h = tanh(-3 h): 0, and a cycle of two."""
    cell = rnnjax.vanilla(1)
    params = VanillaParams(jnp.ones((1, 1)), jnp.full((1, 1), -3.0), jnp.zeros(1))
    starts = at(cell, params, jnp.array([[-1.0], [0.01], [1.0]]))
    found = fixed_points(cell, params, jnp.zeros(1), starts, period=2)
    root = brentq(lambda h: np.tanh(3 * h) - h, 0.5, 1)
    np.testing.assert_allclose(found.states.h[:, 0], [-root, 0, root], atol=1e-12)
    assert found.periods.tolist() == [2, 1, 2]
    assert found.stable.tolist() == [True, False, True]
    np.testing.assert_allclose(found.eigenvalues[0].real, (3 * (1 - root**2)) ** 2, rtol=1e-9)


@pytest.mark.parametrize("period", [1, 2])
def test_all_points_of_a_relu_net_are_found(period):
    cell = rnnjax.irnn(4)
    rng = np.random.default_rng(17)
    w_h, b = rng.standard_normal((4, 4)), rng.standard_normal(4)
    params = VanillaParams(jnp.ones((1, 4)), jnp.asarray(w_h), jnp.asarray(b))
    every = relu_fixed_points(cell, params, jnp.ones(1), period=period)
    starts = at(cell, params, 2 * jnp.abs(normal(3, 200, 4)))
    found = fixed_points(cell, params, jnp.ones(1), starts, period=period)
    sampled = found.states.h[found.labels == "fixed"]
    assert len(sampled) > 2
    for point in sampled:  # the search finds none that the enumeration lacks
        assert np.abs(every.states.h - point).max(axis=1).min() < 1e-6
    now = every.states.h
    for _ in range(period):
        now = np.maximum(now @ w_h + 1 + b, 0)
    np.testing.assert_allclose(now, every.states.h, atol=1e-9)
    assert [*every.periods].count(1) == 3
    assert len(every.periods) == (3 if period == 1 else 9)


def test_two_relu_units_that_inhibit_each_other():
    cell = rnnjax.vanilla(2, "relu")
    params = VanillaParams(jnp.zeros((1, 2)), jnp.array([[0.0, -2.0], [-2.0, 0.0]]), jnp.ones(2))
    found = relu_fixed_points(cell, params, jnp.zeros(1))
    np.testing.assert_allclose(found.states.h, [[0, 1], [1 / 3, 1 / 3], [1, 0]], atol=1e-12)
    assert found.stable.tolist() == [True, False, True]
    np.testing.assert_allclose(np.sort(found.eigenvalues[1].real), [-2, 2], atol=1e-12)
    both = relu_fixed_points(cell, params, jnp.zeros(1), period=2)
    want = list(itertools.product((0, 1 / 3, 1), repeat=2))  # each unit is 1 - 2 (1 - 2 h) again
    np.testing.assert_allclose(both.states.h, want, atol=1e-12)
    assert both.periods.tolist() == [1 if h1 + h2 in (1, 2 / 3) else 2 for h1, h2 in want]


@pytest.mark.parametrize(
    ("starts", "x", "error", "message"),
    [
        (
            lambda c, p: c.initial_carry(p, ()).h[0],
            jnp.zeros(1),
            ValueError,
            r"leaves \[N, \.\.\.\]",
        ),
        (
            lambda c, p: c.initial_carry(p, ()),
            jnp.zeros(1),
            ValueError,
            r"got VanillaCarry\(h float\d+\[2\]\), which is one state without N",
        ),
        (lambda c, p: jnp.ones((3, 2)), jnp.zeros(1), ValueError, r"^starts has the structure"),
        (lambda c, p: at(c, p, jnp.ones((3, 5))), jnp.zeros(1), ValueError, r"^starts\.h is float"),
        (
            lambda c, p: c.initial_carry(p, (3,)),
            jnp.zeros((2, 1)),
            ValueError,
            r"^x must be one input \[D\] .* each of the N = 3 starts, got shape \(2, 1\)",
        ),
        (
            lambda c, p: c.initial_carry(p, (3,)),
            "1",
            TypeError,
            r"^x must be one input, .* got '1'",
        ),
        (
            lambda c, p: c.initial_carry(p, (3,)),
            jnp.ones((4, 3, 1)),
            ValueError,
            r"^x must be one .* got shape \(4, 3, 1\)",
        ),
    ],
)
def test_errors_name_starts_and_x(starts, x, error, message):
    cell, params = flip_flops(2)
    params = params._replace(w_x=jnp.ones((1, 2)))
    with pytest.raises(error, match=message):
        fixed_points(cell, params, x, starts(cell, params))


def test_of_no_starts_there_are_no_points():
    cell = rnnjax.lstm(2)
    params = drawn(cell, 3)
    found = fixed_points(cell, params, jnp.ones(3), cell.initial_carry(params, (0,)))
    assert [leaf.shape for leaf in found.states] == [(0, 2), (0, 2)]
    assert (found.inputs.shape, found.eigenvalues.shape) == ((0, 3), (0, 4))
    assert [len(each) for each in found[2:]] == [0] * 5
    assert found.stable.shape == (0,)


def test_a_net_with_randomness_has_no_fixed_points():
    cell = rnnjax.fixed_dt(rnnjax.ctrnn(2, noise=0.1), 1.0)
    params = drawn(cell, 1)
    noisy, quiet = (cell.initial_carry(params, (2,), *key) for key in ([jax.random.key(0)], []))
    with pytest.raises(ValueError, match=r"PRNG keys starts\.keys .* pass starts without a key"):
        fixed_points(cell, params, jnp.ones(1), noisy)
    assert set(fixed_points(cell, params, jnp.ones(1), quiet).labels) == {"fixed"}


def counting(read):
    """h = tanh(2 h) beside a count of steps, a mode and keys; `read` says what is added to h."""

    def initial_carry(params, shape):
        keys = jax.random.split(jax.random.key(0), shape)
        return {"count": jnp.zeros(shape, int), "h": jnp.zeros((*shape, 1)), "keys": keys} | {
            "mode": jnp.ones(shape, int)
        }

    def step(params, carry, x_t):
        del x_t
        h = jnp.tanh(2 * carry["h"]) + read(carry)
        moved = {"count": carry["count"] + 1, "h": h, "keys": random.next_keys(carry["keys"])[0]}
        return carry | moved, h

    return rnnjax.Cell(lambda key, inputs: None, initial_carry, step)


def test_leaves_that_cannot_be_at_rest_stay_as_they_are_or_are_refused():
    def found(read, period=1):
        cell = counting(read)
        starts = cell.initial_carry(None, (3,)) | {"h": jnp.array([[-1.0], [0.1], [1.0]])}
        return fixed_points(cell, None, jnp.zeros(1), starts, period=period)

    alone = found(lambda carry: 0.0)
    np.testing.assert_allclose(alone.states["h"][:, 0], [-ROOT, 0, ROOT], atol=1e-9)
    assert alone.states["count"].tolist() == [0, 0, 0]
    assert alone.states["keys"].shape == (3,)
    held = found(lambda carry: 0.1 * carry["mode"][..., None], period=2)  # the mode stays
    root = brentq(lambda h: np.tanh(2 * h) + 0.1 - h, 0.5, 2)
    np.testing.assert_allclose(held.states["h"][-1], [root], atol=1e-9)
    with pytest.raises(
        ValueError, match=r"depends on starts\['count'\], int\d+\[3\], which the step"
    ):
        found(lambda carry: 0.1 * carry["count"][..., None])
    with pytest.raises(ValueError, match=r"starts\['keys'\] .* those of a cell that draws nothing"):
        found(lambda carry: random.normal(carry["keys"], (1,), jnp.float64))


def test_wrong_calls_say_what_to_do():
    cell, params = flip_flops(1)
    relu = rnnjax.irnn(11)
    line = VanillaParams(jnp.zeros((1, 1)), jnp.ones((1, 1)), jnp.zeros(1))
    with pytest.raises(ValueError, match=r"tolerance must be positive"):
        fixed_points(cell, params, jnp.zeros(1), at(cell, params, jnp.ones((1, 1))), tolerance=0)
    with pytest.raises(ValueError, match=r"takes rnnjax.vanilla\(H, 'relu'\)"):
        relu_fixed_points(cell, params, jnp.zeros(1))
    with pytest.raises(ValueError, match=r"make 2\^22 regions"):
        relu_fixed_points(relu, drawn(relu, 1), jnp.zeros(1), period=2)
    with pytest.raises(ValueError, match=r"continuum of fixed points"):
        relu_fixed_points(rnnjax.irnn(1), line, jnp.zeros(1))
