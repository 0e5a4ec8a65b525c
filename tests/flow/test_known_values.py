"""Measures that need concrete values say so under `jit`."""

import jax
import jax.numpy as jnp
import pytest

import rnnjax
from rnnjax import flow

CELL = rnnjax.irnn(3)
PARAMS = CELL.init(jax.random.key(0), 2)
XS = jax.random.normal(jax.random.key(1), (8, 2, 2))


def cost(carry, ys):
    return jnp.sum(ys**2)


MEASURES = {
    "verdict": lambda params: flow.verdict(flow.record(CELL, params, XS, cost, last=True)),
    "truncation_length": lambda params: flow.truncation_length(CELL, params, XS, cost, bias=0.1),
    "predictability": lambda params: flow.predictability(CELL, params, XS),
    "precision": lambda params: flow.precision(CELL, params, XS, cost),
    "relu_fixed_points": lambda params: flow.relu_fixed_points(CELL, params, XS[0, 0]),
    "fixed_points": lambda params: flow.fixed_points(
        CELL, params, XS[0, 0], rnnjax.cells.VanillaCarry(jnp.zeros((2, 3)))
    ),
}


@pytest.mark.parametrize("name", MEASURES)
def test_under_jit_it_says_to_call_it_outside(name):
    with pytest.raises(TypeError, match=f"^{name} needs concrete values: call it outside jit"):
        jax.jit(MEASURES[name])(PARAMS)
