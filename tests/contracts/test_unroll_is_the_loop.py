"""Rule, autodiff and a Python loop agree: values and gradients, lengths, resets, directions.

Programs are shared by the checks of one row and direction, since compiling them is what costs.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from cells_table import FORM_IDS, FORMS, RANDOM, ROWS, B, T
from loop import by_loop
from problems import (
    FULL,
    NO_RESETS,
    RAGGED,
    RESETS,
    Point,
    assert_close,
    first_carry,
    inexact_leaves,
    problem,
    program,
)

from rnnjax import autodiff, bptt, sequential
from rnnjax.methods import explain

SITUATIONS = [(FULL, NO_RESETS), (RAGGED, NO_RESETS), (FULL, RESETS), (RAGGED, RESETS)]


def programs(name, **options):
    """By autodiff; by the rule; and by the method that `auto()` chooses, if that is another."""
    runs = [program(name, gradient=autodiff(), **options)]
    cell, params, xs, *_ = problem(name)
    if cell.rule is not None:
        runs.append(program(name, gradient=bptt(), method=sequential(), **options))
        if explain(cell, params, xs).method != sequential():
            runs.append(program(name, gradient=bptt(), **options))
    return runs


def setting(name, training):
    """The point, the arrays that go beside it, and the carry that the run starts from."""
    cell, params, xs, carry, key = problem(name)
    if training:  # the key makes the carry, which is then no argument
        first = first_carry(name)
        return Point(params, xs, None), {"key": key}, first, first
    return Point(params, xs, carry), {}, carry, cell.initial_carry(params, (B,))


def assert_all_agree(results, want):
    if results[0].gradients.carry is None:
        want = want._replace(gradients=want.gradients._replace(carry=None))
    for got in results:
        assert_close(got, want)
        assert_close(got.gradients, results[0].gradients)


def assert_padding_changes_nothing(run, point, **arrays):
    padding = jnp.arange(T)[:, None, None] >= RAGGED[None, :, None]
    zeros, nans, huge = (
        run(point._replace(xs=jnp.where(padding, filler, point.xs)), **arrays)
        for filler in (0.0, jnp.nan, 1e300)
    )
    for (path, a), (_, b), (_, c) in zip(*map(inexact_leaves, (zeros, nans, huge)), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=path)
        np.testing.assert_array_equal(a, c, err_msg=path)
    assert not np.where(padding, nans.gradients.xs, 0).any()
    assert not np.where(padding, nans.ys, 0).any()
    assert np.asarray(nans.gradients.xs[:3, 1]).any()


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize(("name", "training"), FORMS, ids=FORM_IDS)
def test_rule_autodiff_and_loop_agree_and_padding_changes_nothing(name, training, reverse):
    point, arrays, carry, fresh = setting(name, training)
    runs = programs(name, reverse=reverse)
    if reverse:  # the loop alone is enough
        runs = runs[1:] or runs
    for lengths, resets in SITUATIONS:
        want = by_loop(name, point.params, point.xs, carry, fresh, lengths, resets, reverse)
        results = [run(point, **arrays, lengths=lengths, resets=resets) for run in runs]
        assert_all_agree(results, want)
    for run in runs:
        assert_padding_changes_nothing(run, point, **arrays, lengths=RAGGED, resets=NO_RESETS)


@pytest.mark.parametrize("name", ROWS)
def test_plain_unroll_is_the_loop_too_however_it_is_executed(name):
    point, arrays, carry, fresh = setting(name, False)
    runs = programs(name, reverse=False)
    if ROWS[name].cell.rule is not None:
        runs.append(
            program(name, gradient=bptt(), reverse=False, method=sequential(hoist=True, unroll=2))
        )
    want = by_loop(name, point.params, point.xs, carry, fresh, FULL, NO_RESETS, False)
    assert_all_agree([run(point, **arrays) for run in runs], want)


def test_hoisting_passes_flags_on():
    point, *_ = setting("stack_of_two", False)
    arrays = {"lengths": RAGGED, "resets": RESETS}
    step_by_step, hoisted = (
        program("stack_of_two", gradient=bptt(), reverse=True, method=sequential(hoist=hoist))
        for hoist in (False, True)
    )
    assert_close(hoisted(point, **arrays), step_by_step(point, **arrays), 1e-13)


@pytest.mark.parametrize("name", RANDOM)
def test_a_carry_that_holds_a_key_can_be_passed_and_differentiated(name):
    _, params, xs, *_ = problem(name)
    carry = first_carry(name)
    by_autodiff, by_rule = (run(Point(params, xs, carry)) for run in programs(name, reverse=False))
    assert_close(by_rule, by_autodiff)
    want = by_loop(name, params, xs, carry, carry, FULL, NO_RESETS, False)
    assert_close(by_rule.ys, want.ys)
