"""A learned initial carry: trained with the rest, by every method, wherever it stands.

The contracts hold for it too: `learned_carry` is a row of their table.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import LearnedCarryParams, learned_carry, unroll
from rnnjax.methods import AVAILABILITY, explain
from rnnjax.online import snap

LSTM = rnnjax.lstm(2)
CELL = learned_carry(LSTM)
XS = np.random.default_rng(0).standard_normal((3, 4, 2))
PARAMS = jax.tree.map(
    lambda shape: np.random.default_rng(1).standard_normal(shape.shape),
    jax.eval_shape(lambda key: CELL.init(key, 2), jax.random.key(0)),
)


def cost(run):
    last, ys = run
    return jnp.sum(jnp.sin(ys)) + sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(last))


def test_it_is_the_carry_that_one_passes(eager):
    def given(params, carry):
        return cost(unroll(LSTM, params, XS, carry=carry))

    want = jax.grad(given, (0, 1))(*PARAMS)
    for options in ({}, {"method": rnnjax.sequential()}, {"gradient": rnnjax.autodiff()}):
        got = jax.grad(lambda p, o=options: cost(unroll(CELL, p, XS, **o)))(PARAMS)
        assert isinstance(got, LearnedCarryParams)
        for a, b in zip(jax.tree.leaves(tuple(got)), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    begun = CELL.init(jax.random.key(0), 2)
    assert not any(map(np.any, begun.carry))


def test_it_takes_no_kernel_away():
    if AVAILABILITY["native"]():
        pytest.skip("no kernels")
    for cell in (CELL, rnnjax.stack(CELL, CELL), learned_carry(rnnjax.stack(LSTM, LSTM))):
        shapes = jax.eval_shape(lambda key, c=cell: c.init(key, 2), jax.random.key(0))
        params = jax.tree.map(lambda leaf: np.zeros(leaf.shape), shapes)
        assert explain(cell, params, XS).method == rnnjax.native()


def test_a_replaced_rule_runs(eager):
    silent = CELL._replace(
        rule=CELL.rule._replace(gradients=lambda p, *_: jax.tree.map(jnp.zeros_like, (p, XS)))
    )
    down = jax.grad(lambda p: cost(unroll(silent, p, XS)))(PARAMS)
    assert not np.any(down.cell.w_h)


def test_states_are_learned_and_randomness_is_not(eager):
    inside = learned_carry(rnnjax.zoneout(LSTM, h=0.5))
    params = PARAMS._replace(carry=inside.init(jax.random.key(0), 2).carry)
    params = params._replace(carry=jax.tree.map(lambda leaf: leaf + 3, params.carry))
    carry = inside.initial_carry(params, (4,), jax.random.key(1))
    assert carry.keys.shape == (4,)
    np.testing.assert_array_equal(carry.cell.c, np.full((4, 2), 3.0))
    outside = rnnjax.zoneout(CELL, h=0.5)
    np.testing.assert_array_equal(
        outside.initial_carry(PARAMS, (4,), jax.random.key(1)).cell.h[1], PARAMS.carry.h
    )


@pytest.mark.parametrize("cell", [rnnjax.urnn(3), rnnjax.lru(3)], ids=str)
def test_complex_states_are_learned_downhill(cell):
    """By what every optimizer does, a step against the gradient."""
    cell = rnnjax.learned_carry(cell)
    params = cell.init(jax.random.key(0), 2)
    xs = jax.random.normal(jax.random.key(1), (4, 2))
    away = jax.tree.map(lambda w: w + jnp.array([[0.3], [0.7]]), params.carry)
    goal = rnnjax.unroll(cell, params._replace(carry=away), xs)[1]

    def cost(learned):
        ys = rnnjax.unroll(cell, params._replace(carry=learned), xs)[1]
        return jnp.mean((ys - goal) ** 2)

    slope = jax.grad(cost)(params.carry)
    assert not any(map(jnp.iscomplexobj, jax.tree.leaves(slope)))
    squared = sum(jnp.sum(g**2) for g in jax.tree.leaves(slope))
    rate = 1e-6
    after = cost(jax.tree.map(lambda w, g: w - rate * g, params.carry, slope))
    np.testing.assert_allclose(cost(params.carry) - after, rate * squared, rtol=1e-4)
    begun = cell.initial_carry(params._replace(carry=away), (5,))
    for leaf, own in zip(jax.tree.leaves(begun), jax.tree.leaves(away), strict=True):
        np.testing.assert_array_equal(leaf, np.broadcast_to(own[0] + 1j * own[1], leaf.shape))


def test_wrong_params_say_what_they_are():
    for params, error, message in (
        (PARAMS.cell, TypeError, r"LearnedCarryParams\(cell, carry\) for learned_carry\(lstm\(2\)"),
        (
            PARAMS._replace(carry=PARAMS.carry._replace(h=np.zeros(3))),
            ValueError,
            r"params\.carry\.h is float64\[3\], expected float64\[2\]",
        ),
        (PARAMS._replace(cell=PARAMS.cell._replace(b=np.zeros(3))), ValueError, r"params\.b has"),
    ):
        with pytest.raises(error, match=message):
            unroll(CELL, params, XS)
    with pytest.raises(ValueError, match=r"snap\(\) gives the gradient of params alone"):
        jax.grad(lambda p: cost(unroll(CELL, p, XS, gradient=snap(1))))(PARAMS)
