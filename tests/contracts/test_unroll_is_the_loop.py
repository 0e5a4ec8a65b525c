"""Rule, autodiff and a Python loop agree: values and gradients, lengths, resets, directions.

A program that runs once or a few times costs less by NumPy than compiled (see `by_numpy`). The
reference by autodiff is compiled for one row of each kind.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_numpy import evaluated
from cells_table import FORM_IDS, FORMS, KINDS, RANDOM, ROWS, B, D, H, T
from loop import by_loop
from problems import (
    FULL,
    NO_RESETS,
    PADDING,
    RAGGED,
    RESETS,
    Point,
    assert_close,
    fill_padding,
    first_carry,
    gradient_of,
    inexact_leaves,
    problem,
    program,
)

import rnnjax
from rnnjax import autodiff, bptt, sequential
from rnnjax.methods import explain


def by_rule(name, **options):
    """By the rule in a scan, and by the method that `auto()` chooses, if that is another."""
    cell, params, xs, *_ = problem(name)
    if cell.rule is None:
        return []
    runs = [evaluated(gradient_of(cell, gradient=bptt(), method=sequential(), **options))]
    if explain(cell, params, xs).plan != sequential():
        runs.append(evaluated(gradient_of(cell, **options)))
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


def assert_padding_is_zero(got):
    for leaf in jax.tree.leaves((got.gradients.xs, got.ys)):
        assert not np.any(np.asarray(leaf)[np.asarray(PADDING)])
    assert any(np.any(leaf[:3, 1]) for leaf in jax.tree.leaves(got.gradients.xs))


def assert_same_bits(got, want):
    for (path, a), (_, b) in zip(inexact_leaves(got), inexact_leaves(want), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=path)


@pytest.mark.parametrize(("name", "training"), FORMS, ids=FORM_IDS)
def test_rule_autodiff_and_loop_agree_and_padding_changes_nothing(name, training):
    assert_the_loop(name, training, reverse=False)


@pytest.mark.parametrize(("name", "training"), [form for form in FORMS if form[0] in KINDS])
def test_backwards_in_time_too(name, training):
    assert_the_loop(name, training, reverse=True)


def assert_the_loop(name, training, reverse):
    point, arrays, carry, fresh = setting(name, training)
    arrays |= {"lengths": RAGGED, "resets": RESETS}
    runs = by_rule(name, reverse=reverse)
    if not reverse or not runs:  # else the loop alone is enough
        options = {"gradient": autodiff(), "reverse": reverse}
        if name in KINDS:  # XLA's programs of the others are made of the same primitives
            runs.insert(0, program(name, **options))
        else:
            runs.insert(0, evaluated(gradient_of(ROWS[name].cell, **options)))
    want = by_loop(name, point.params, point.xs, carry, fresh, RAGGED, RESETS, reverse)
    spoilt = point._replace(xs=fill_padding(point.xs, jnp.nan, 1e300))  # the loop never gets there
    results = [run(spoilt, **arrays) for run in runs]
    assert_all_agree(results, want)
    for run, got in zip(runs, results, strict=True):
        assert_padding_is_zero(got)
        if name in KINDS:
            assert_same_bits(run(point, **arrays), got)


@pytest.mark.parametrize("name", ROWS)
def test_plain_unroll_is_the_loop_too_however_it_is_executed(name):
    point, arrays, carry, fresh = setting(name, False)
    cell = ROWS[name].cell
    runs = [*by_rule(name), evaluated(gradient_of(cell, gradient=autodiff()))]
    if cell.rule is not None:
        hoisted = sequential(hoist=True, unroll=2)
        runs.append(evaluated(gradient_of(cell, gradient=bptt(), method=hoisted)))
    want = by_loop(name, point.params, point.xs, carry, fresh, FULL, NO_RESETS, False)
    assert_all_agree([run(point, **arrays) for run in runs], want)


def test_hoisting_passes_flags_on():
    point, *_ = setting("stack_of_two", False)
    arrays = {"lengths": RAGGED, "resets": RESETS}
    cell = ROWS["stack_of_two"].cell
    step_by_step, hoisted = (
        evaluated(gradient_of(cell, gradient=bptt(), reverse=True, method=sequential(hoist=hoist)))
        for hoist in (False, True)
    )
    assert_close(hoisted(point, **arrays), step_by_step(point, **arrays), 1e-13)


def products(jaxpr):
    """The shapes of the operands of every matrix product, those of loops included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield [v.aval.shape for v in equation.invars]
        for inner in equation.params.values():
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from products(inner)


def test_hoisting_projects_all_inputs_in_one_product_without_a_gradient_too():
    cell, params, xs, *_ = problem("lstm")
    found = {}
    for hoist in (False, True):
        method = sequential(hoist=hoist)
        run = jax.make_jaxpr(lambda p, x, m=method: rnnjax.unroll(cell, p, x, method=m))
        found[hoist] = list(products(run(params, xs).jaxpr))
    G = params.w_h.shape[-1]
    assert found[False] == [[(B, D + H), (D + H, G)]]
    assert found[True] == [[(T, B, D), (D, G)], [(B, H), (H, G)]]


@pytest.mark.parametrize("name", RANDOM)
def test_a_carry_that_holds_a_key_can_be_passed_and_differentiated(name):
    cell, params, xs, *_ = problem(name)
    carry = first_carry(name)
    point = Point(params, xs, carry)
    by_autodiff = evaluated(gradient_of(cell, gradient=autodiff()))(point)
    by_bptt = evaluated(gradient_of(cell, gradient=bptt(), method=sequential()))(point)
    assert_close(by_bptt, by_autodiff)
    want = by_loop(name, params, xs, carry, carry, FULL, NO_RESETS, False)
    assert_close(by_bptt.ys, want.ys)
