"""What a cost reads is read at every call, whatever was compiled for the call before."""

import jax
import jax.numpy as jnp
import pytest

import rnnjax
from rnnjax.gradients import error, unfolded

CELL = rnnjax.vanilla(2)
PARAMS, XS = CELL.init(jax.random.key(0), 1), jnp.ones((4, 1))


def relative_error(cost):
    return error(CELL, PARAMS, XS, cost, rnnjax.truncated(2)).rows[-1].relative


def part_of_the_last_copy(cost):
    return float(jnp.abs(unfolded(CELL, PARAMS, XS, cost).copies.b[-1]).max())


def read_by_name():
    w = jnp.zeros(4)

    def cost(carry, ys):
        return (w * ys[:, 0]).sum()

    def change(new):
        nonlocal w
        w = new

    return cost, change


def read_of_an_object():
    head = {}

    def cost(carry, ys):
        return (head["w"] * ys[:, 0]).sum()

    def change(new):
        head["w"] = new

    return cost, change


@pytest.mark.parametrize("made", [read_by_name, read_of_an_object])
@pytest.mark.parametrize("measured", [relative_error, part_of_the_last_copy])
def test_what_a_cost_reads_is_read_at_every_call(measured, made):
    """The first output alone needs no truncation, and none of the last copy of the weights."""
    cost, change = made()
    change(jnp.zeros(4).at[3].set(1.0))
    late = measured(cost)
    change(jnp.zeros(4).at[0].set(1.0))
    assert measured(cost) < 1e-12 < 1e-3 < late
