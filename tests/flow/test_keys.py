"""A key draws the randomness of a new carry, in every measure as in `unroll`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, normal

import rnnjax
from rnnjax import flow
from rnnjax.gradients import clip_by_norm

pytestmark = pytest.mark.usefixtures("eager")

CELL = rnnjax.zoneout(rnnjax.gru(2), h=0.4)
XS = normal(1, 5, 2, 1)


def last(carry, ys):
    del carry
    return jnp.sum(ys[-1] ** 2)


MEASURES = {
    "jacobians": lambda *net, **given: flow.jacobians(*net, **given),
    "lyapunov_spectrum": lambda *net, **given: flow.lyapunov_spectrum(*net, 2, **given),
    "flossing": lambda *net, **given: flow.flossing(*net, 2, **given),
    "predictability": lambda *net, **given: flow.predictability(*net, **given).exponent,
    "sensitivity": lambda *net, **given: flow.sensitivity(*net, **given),
    "pascanu_ratios": lambda *net, **given: flow.pascanu_ratios(*net, last, **given),
    "pascanu_regularizer": lambda *net, **given: flow.pascanu_regularizer(*net, last, **given),
    "clipped_steps": lambda *net, **given: flow.clipped_steps(
        *net, last, clip_by_norm(0.05), **given
    ),
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_key_is_that_of_the_carry_it_makes(name):
    params, key = drawn(CELL, 1), jax.random.key(3)
    carry = CELL.initial_carry(params, (2,), key)
    with_key, with_carry, without = (
        np.asarray(MEASURES[name](CELL, params, XS, **given))
        for given in ({"key": key}, {"carry": carry}, {})
    )
    np.testing.assert_array_equal(with_key, with_carry)
    assert not np.array_equal(with_key, without)


@pytest.mark.parametrize("name", MEASURES)
def test_a_carry_and_a_key_are_refused_together(name):
    params = drawn(CELL, 1)
    given = {"carry": CELL.initial_carry(params, (2,)), "key": jax.random.key(0)}
    with pytest.raises(ValueError, match="pass carry= or key=, not both"):
        MEASURES[name](CELL, params, XS, **given)
