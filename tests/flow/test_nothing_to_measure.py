"""Batches without examples and sequences without steps: empty results, or what is missing."""

import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, normal

import rnnjax
from rnnjax import flow

pytestmark = pytest.mark.usefixtures("eager")

CELL = rnnjax.lstm(2)
PARAMS = drawn(CELL, 3)
XS = normal(1, 4, 2, 3)
ASKED = {
    "precision": lambda xs: flow.precision(CELL, PARAMS, xs, cost),
    "truncation_length": lambda xs: flow.truncation_length(CELL, PARAMS, xs, cost),
    "watch": lambda xs: flow.watch(CELL, xs, cost)(0, PARAMS),
}


def cost(carry, ys):
    return jnp.sum(ys**2) + jnp.sum(carry.h)


def test_of_no_examples_there_are_no_singular_values():
    found = flow.log_singular_values(flow.jacobians(CELL, PARAMS, XS[:, :0]), [1, 3])
    assert found.lags.tolist() == [1, 3]
    assert found.logs.shape == (2, 0, 4)
    assert found.logs.dtype == jnp.float64
    with_lengths = flow.log_singular_values(jnp.zeros((4, 0, 2, 2)), [3], lengths=jnp.zeros(0, int))
    assert with_lengths.logs.shape == (1, 0, 2)


@pytest.mark.parametrize("name", ASKED)
def test_what_has_no_answer_says_what_is_missing(name):
    with pytest.raises(ValueError, match=r"xs has no examples, its batch shape is \(0,\): .*one$"):
        ASKED[name](XS[:, :0])
    with pytest.raises(ValueError, match=r"xs has T = 0 steps: no error can travel back"):
        ASKED[name](XS[:0])


def test_no_verdict_on_no_examples():
    with pytest.raises(ValueError, match=r"xs has no examples, its batch shape is \(3, 0\)"):
        flow.predictability(CELL, PARAMS, jnp.zeros((4, 3, 0, 3)))
    with pytest.raises(ValueError, match=r"xs has T = 0 steps and burn_in = 0"):
        flow.predictability(CELL, PARAMS, XS[:0])
    with pytest.raises(ValueError, match=r"the norms \(4, 0\) are of no examples"):
        flow.verdict(np.zeros((4, 0)))
