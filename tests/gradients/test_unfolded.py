"""The gradients of the copies of the weights in the unfolded net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.gradients import unfolded

T, B, D, H = 5, 3, 2, 4
CELLS = {
    "vanilla": rnnjax.vanilla(H),
    "lstm": rnnjax.lstm(H),
    "gru": rnnjax.gru(H),
    "stack": rnnjax.stack(rnnjax.gru(3), rnnjax.lstm(H)),
}
OPTIONS = {
    "plain": {},
    "lengths": {"lengths": jnp.array([5, 2, 0])},
    "resets": {"resets": jnp.zeros((T, B), bool).at[2, 1].set(True)},
}


def problem(cell):
    key = jax.random.key(3)
    params = cell.init(key, D)
    return params, jax.random.normal(key, (T, B, D))


def cost(carry, ys):
    return jnp.sum(jnp.sin(ys)) + sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(carry))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_sum_of_the_copies_is_the_gradient(cell, options):
    params, xs = problem(cell)
    each = unfolded(cell, params, xs, cost, **options)
    total = jax.grad(lambda params: cost(*rnnjax.unroll(cell, params, xs, **options)))(params)
    for copies, summed, mean, exact in zip(
        *map(jax.tree.leaves, (each.copies, each.sum(), each.mean(), total)), strict=True
    ):
        assert copies.shape == (T, *exact.shape)
        np.testing.assert_allclose(summed, exact, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(mean * T, exact, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("given", [False, True])
def test_carries_that_are_made_of_weights_are_those_of_the_copies_they_begin(given):
    cell = rnnjax.learned_carry(rnnjax.lstm(H))
    params, xs = problem(cell)
    params = jax.tree.map(lambda leaf: leaf + 0.3, params)
    options = {**OPTIONS["lengths"], "resets": jnp.zeros((T, B), bool).at[2, 0].set(True)}
    if given:
        options["carry"] = cell.initial_carry(params, (B,))
    each = unfolded(cell, params, xs, cost, **options)
    total = jax.grad(lambda params: cost(*rnnjax.unroll(cell, params, xs, **options)))(params)
    for summed, exact in zip(*map(jax.tree.leaves, (each.sum(), total)), strict=True):
        np.testing.assert_allclose(summed, exact, rtol=1e-12, atol=1e-13)
    part = jnp.abs(each.copies.carry.c).sum(-1)
    assert np.flatnonzero(part).tolist() == [*([] if given else [0]), 2]  # where the reset is


def test_each_copy_is_its_own_steps_gradient():
    cell = CELLS["lstm"]
    params, xs = problem(cell)

    def run(copies):
        carry, ys = cell.initial_carry(params, (B,)), []
        for t in range(T):
            carry, y = cell.step(copies[t], carry, xs[t])
            ys.append(y)
        return cost(carry, jnp.stack(ys))

    by_hand = jax.grad(run)([params] * T)
    each = unfolded(cell, params, xs, cost)
    for t in range(T):
        np.testing.assert_allclose(each.copies.w_h[t], by_hand[t].w_h, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(each.copies.b[t], by_hand[t].b, rtol=1e-12, atol=1e-14)


def test_copies_beyond_the_length_get_nothing():
    cell = CELLS["gru"]
    params, xs = problem(cell)
    each = unfolded(cell, params, xs, cost, lengths=jnp.array([3, 2, 0]))
    assert all(float(jnp.abs(leaf[3:]).max()) == 0 for leaf in jax.tree.leaves(each.copies))
    assert float(jnp.abs(each.copies.w_x[2]).max()) > 0


def test_a_cost_that_is_no_scalar_is_refused():
    cell = CELLS["gru"]
    params, xs = problem(cell)
    with pytest.raises(ValueError, match="scalar"):
        unfolded(cell, params, xs, lambda carry, ys: ys)
