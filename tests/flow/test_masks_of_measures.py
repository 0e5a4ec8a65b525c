"""Measures of sequences with steps to skip are those of the steps that are run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, normal

import rnnjax
from rnnjax import flow
from rnnjax.gradients import error

pytestmark = pytest.mark.usefixtures("eager")
T = 6
CELL = rnnjax.lstm(3)
PARAMS = drawn(CELL, 2, 0.8)
XS = normal(1, T, 2, 2)
MASK = np.array([[1, 0, 1, 1, 0, 1], [0, 1, 1, 0, 0, 1]], bool).T
SHOWN = ([0, 0, 1, 2, 2, 3], [-1, 0, 1, 1, 1, 2])  # the step of the shorter run whose y_t it is


def cost(carry, ys):
    weights = jnp.arange(1.0, T + 1).reshape(T, *[1] * (ys.ndim - 1))
    return jnp.sum(jnp.sin(ys) * weights) + jnp.sum(carry.c**2)


def without_skips(measure, example):
    """Of one example, run as a shorter sequence."""

    def of_shown(carry, ys):
        return cost(carry, jnp.concatenate([ys, 0 * ys[:1]])[jnp.array(SHOWN[example])])

    return measure(XS[MASK[:, example], example], of_shown)


@pytest.mark.parametrize("last", [False, True])
def test_the_error_is_that_of_the_steps_that_are_run(last):
    found = flow.record(CELL, PARAMS, XS, cost, mask=MASK, last=last)
    parts = flow.paths(CELL, PARAMS, XS, cost, mask=MASK, last=last).parts
    for k in range(2):
        want = without_skips(lambda xs, cost: flow.record(CELL, PARAMS, xs, cost, last=last), k)
        count = MASK[:, k].sum()
        for name in ("h", "c"):
            got = getattr(found.carry_ct, name)[:, k]
            np.testing.assert_allclose(got[:count], getattr(want.carry_ct, name), rtol=1e-12)
            assert not np.any(got[count:])
        assert np.array_equal(found.reads[:count, k], want.reads)
        assert not found.reads[count:, k].any()
        if last:
            rate = flow.half_life(found)[k]
            np.testing.assert_allclose(rate, flow.half_life(want), rtol=1e-10)
    whole = sum(part.carry_ct.c for part in parts.values())
    np.testing.assert_allclose(whole, found.carry_ct.c, rtol=1e-10, atol=1e-14)


def test_exponents_are_those_of_the_steps_that_are_run():
    found = flow.lyapunov_spectrum(CELL, PARAMS, XS, 2, burn_in=1, mask=MASK)
    want = [
        without_skips(lambda xs, _: flow.lyapunov_spectrum(CELL, PARAMS, xs, 2, burn_in=1), k)
        for k in range(2)
    ]
    np.testing.assert_allclose(found, want, rtol=1e-12)
    loss = flow.flossing(CELL, PARAMS, XS, 2, burn_in=1, mask=MASK)
    np.testing.assert_allclose(loss, np.mean(np.square(want)), rtol=1e-12)
    first = np.ravel(flow.lyapunov_spectrum(CELL, PARAMS, XS, 1, burn_in=1, mask=MASK))
    verdict = flow.predictability(CELL, PARAMS, XS, burn_in=1, mask=MASK)
    assert verdict.exponent == pytest.approx(first.max(), rel=1e-12)
    assert verdict.steps == MASK.sum(0)[np.argmax(first)] - 1


def test_ratios_and_clipped_steps_are_of_the_steps_that_are_run():
    def everything(xs, cost, **options):
        given = (CELL, PARAMS, xs, cost)
        clip = rnnjax.gradients.clip_by_norm(1.0)
        return (
            flow.pascanu_ratios(*given, **options),
            flow.clipped_steps(*given, clip, **options),
            flow.jacobians(*given[:3], **options),
            flow.pascanu_regularizer(*given, **options),
        )

    found = everything(XS, cost, mask=MASK)
    for k in range(2):
        want = without_skips(everything, k)
        assert np.any(want[1])
        for got, value in zip(found[:3], want[:3], strict=True):
            np.testing.assert_allclose(got[MASK[:, k], k], value, rtol=1e-10)
        np.testing.assert_allclose(found[3][k], want[3], rtol=1e-10)
        skipped = [got[~MASK[:, k], k] for got in found[:3]]
        assert np.isnan(skipped[0]).all()
        assert not skipped[1].any()
        assert np.array_equal(skipped[2], np.broadcast_to(np.eye(6), skipped[2].shape))


def test_what_is_skipped_in_a_padded_sequence():
    lengths = np.array([4, 6])
    found = flow.jacobians(CELL, PARAMS, XS, mask=MASK, lengths=lengths)
    shown = MASK & (np.arange(T)[:, None] < lengths)
    want = flow.jacobians(CELL, PARAMS, XS, mask=MASK)
    np.testing.assert_allclose(found[shown], want[shown], rtol=1e-12)
    assert np.array_equal(found[~shown], np.broadcast_to(np.eye(6), found[~shown].shape))
    error = flow.record(CELL, PARAMS, XS, cost, mask=MASK, lengths=lengths).carry_ct.c
    assert np.array_equal(np.any(error != 0, axis=-1).sum(0), shown.sum(0))


def test_skipped_steps_do_not_cut_an_error_off():
    """Of the identity it is constant, also where the first steps are skipped."""
    cell = rnnjax.identity_rnn(2)
    params, mask = drawn(cell, 1), jnp.arange(9) % 3 == 2
    found = flow.record(cell, params, normal(1, 9, 1), lambda _, ys: ys[-1].sum(), mask=mask)
    judged = flow.verdict(found)
    assert (judged.label, judged.rate) == ("constant", 0.0)


def test_the_meters_of_gradients_skip_what_unroll_skips():
    def gradient(gradient):
        def value(params):
            return cost(*rnnjax.unroll(CELL, params, XS, mask=MASK, gradient=gradient))

        leaves = jax.tree.leaves(jax.grad(value)(PARAMS))
        return np.concatenate([np.ravel(leaf) for leaf in leaves])

    short, exact = rnnjax.truncated_window(2), gradient(None)
    bias = np.linalg.norm(gradient(short) - exact) / np.linalg.norm(exact)
    assert bias > 0.01
    report = error(CELL, PARAMS, XS, cost, short, mask=MASK)
    assert report.rows[-1].relative == pytest.approx(bias, rel=1e-9)
    found = flow.truncation_length(CELL, PARAMS, XS, cost, mask=MASK)
    assert found.bounds[1] == pytest.approx(bias, rel=1e-9)


@pytest.mark.parametrize("measure", [flow.record, flow.paths, flow.truncation_length])
def test_a_mask_of_another_shape_is_refused(measure):
    with pytest.raises(ValueError, match=r"mask has shape \(2, 6\).*time first"):
        measure(CELL, PARAMS, XS, cost, mask=MASK.T)
    with pytest.raises(TypeError, match="expected booleans, false at the steps to skip"):
        flow.lyapunov_spectrum(CELL, PARAMS, XS, mask=MASK.astype(int))
