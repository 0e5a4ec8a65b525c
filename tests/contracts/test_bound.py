"""A rule and a structure belong to the step they were made for: nothing stands in for another."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_table import ROWS, WITH_RULE
from op_by_op import op_by_op
from problems import assert_close, cost, difference, problem

import rnnjax
from rnnjax import Cell, sequential, unroll
from rnnjax.cells import FACTORIES
from rnnjax.methods import explain


def gradients(cell, params, xs, carry, **options):
    def value(params, xs, carry):
        return cost(*unroll(cell, params, xs, carry=carry, **options))

    with op_by_op():
        return jax.grad(value, (0, 1, 2), allow_int=True)(params, xs, carry)


@functools.cache
def stock_gradients(name):
    cell, params, xs, carry, _ = problem(name)
    return gradients(cell, params, xs, carry)


def doubled(tree):
    return jax.tree.map(lambda leaf: 2 * leaf, tree)


def doubled_backward(rule):
    def backward(params, tape, carry_ct, y_ct, clip):
        carry_ct, delta = rule.backward(params, tape, carry_ct, y_ct, clip)
        return carry_ct, doubled(delta)

    return rule._replace(backward=backward)


def doubled_gradients(rule):
    def after(*arguments):
        return doubled(rule.gradients(*arguments))

    return rule._replace(gradients=after)


@pytest.mark.parametrize("change", [doubled_backward, doubled_gradients])
@pytest.mark.parametrize("name", WITH_RULE)
def test_a_replaced_rule_is_the_one_that_runs(name, change):
    cell, params, xs, carry, _ = problem(name)
    mine = cell._replace(rule=change(cell.rule))
    own = gradients(mine, params, xs, carry)
    assert_close(own[0], doubled(jax.tree.map(np.asarray, stock_gradients(name)[0])))


@pytest.mark.parametrize("name", WITH_RULE)
def test_a_step_replaced_alone_is_refused_and_says_what_to_do(name):
    cell, params, xs, carry, _ = problem(name)

    def step(params, carry, x_t):
        return cell.step(params, carry, jax.tree.map(lambda x: 2 * x, x_t))

    alone = cell._replace(step=step)
    for use in (
        lambda: unroll(alone, params, xs, carry=carry),
        lambda: rnnjax.stack(alone),
        lambda: rnnjax.flow.jacobians(alone, params, xs, carry=carry),
        lambda: rnnjax.gradients.check(alone, params, xs),
    ):
        with pytest.raises(ValueError, match=r"rnnjax\.wrap\(cell, change\).*rule=None"):
            use()


@pytest.mark.parametrize("name", ROWS)
def test_a_step_replaced_with_its_rule_is_the_one_that_runs(name):
    cell, params, xs, carry, _ = problem(name)

    def step(params, carry, x_t):
        carry, y_t = cell.step(params, carry, x_t)
        return carry, jax.tree.map(lambda y: 3 * y, y_t)

    new = cell._replace(step=step, rule=None)
    with op_by_op():
        ys = unroll(new, params, xs, carry=carry)[1]
        assert_close(ys, jax.tree.map(lambda y: 3 * y, unroll(cell, params, xs, carry=carry)[1]))
    assert explain(new, params, xs).method == sequential()


@pytest.mark.parametrize("name", ROWS)
def test_what_is_made_equals_what_is_made_again(name):
    cell = ROWS[name].cell
    assert Cell(*cell) == cell
    assert hash(Cell(*cell)) == hash(cell)
    assert cell._replace(rule=None) == cell or cell.rule is not None


def test_a_rule_of_ones_own_needs_no_mention_of_its_step():
    cell = rnnjax.vanilla(3)
    rule = rnnjax.Rule(*cell.rule[:4])
    bare = Cell(cell.init, cell.initial_carry, cell.step, rule)
    assert bare.rule == cell.rule
    params = cell.init(jax.random.key(0), 2)
    xs = jnp.asarray(np.random.default_rng(0).standard_normal((3, 2, 2)))
    assert explain(bare, params, xs).method == sequential()  # it does not say what it computes
    zeros = cell.initial_carry(params, (2,))
    assert (
        difference(gradients(bare, params, xs, zeros), gradients(cell, params, xs, zeros)) < 1e-13
    )


def test_every_cell_of_the_registry_has_a_row():
    assert set(FACTORIES) <= {repr(row.cell).split("(")[0] for row in ROWS.values()}
