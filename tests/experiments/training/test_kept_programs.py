"""Compiled programs: kept for the next run of a task, unless its loss computes something else."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from tiny_task import RECIPE, tiny_task

from rnnjax.experiments.training import Settings
from rnnjax.experiments.training._dispatch import make_dispatch
from rnnjax.experiments.training._settings import resolve
from rnnjax.experiments.training._setup import initial_state

SETTINGS = resolve(Settings(steps=5, optimizer="sgd"), RECIPE)
BATCH: Any = np.ones(2, np.float32)


def dispatched(loss, batch=BATCH, **changes):
    task = tiny_task()._replace(loss=loss, init=lambda key: jnp.ones(2), **changes)
    return make_dispatch(task, SETTINGS, initial_state(task, SETTINGS), batch)


def cost_of(found, batch=BATCH):
    """The cost of the first step, by the compiled program."""
    task = tiny_task()._replace(init=lambda key: jnp.ones(2))
    return float(found.run(initial_state(task, SETTINGS), found.no_steps, (batch,))[2])


class Penalized:
    """A user's own loss: w⋅x + penalty w⋅w + offsets."""

    def __init__(self):
        self.penalty = 0.0
        self.options = {"scale": 1.0}
        self.offset = np.zeros(3)
        self.power = lambda w: w

    def loss(self, params, carry, batch, key):
        cost = self.options["scale"] * jnp.sum(batch.reshape(-1, 2) @ params)
        cost = cost + self.penalty * jnp.sum(self.power(params) ** 2) + jnp.sum(self.offset)
        return cost, (None, {})

    def __call__(self, *args):
        return self.loss(*args)


@pytest.mark.parametrize("bound", [lambda own: own.loss, lambda own: own], ids=["bound", "called"])
def test_a_loss_that_reads_changed_state_is_compiled_again(bound):
    own = Penalized()

    def cost():
        return cost_of(dispatched(bound(own)))

    assert cost() == 2
    own.penalty = 100.0
    assert cost() == 202
    own.options["scale"] = 2.0
    assert cost() == 204
    own.offset[0] = 7.0  # in place
    assert cost() == 211
    own.power = lambda w: 2 * w
    assert cost() == 811
    own.penalty = -0.0
    own.offset = np.zeros(3)
    assert cost() == 4


def test_a_loss_whose_helper_reads_another_global_is_compiled_again():
    weight = 0.0

    def helper(params):
        return weight * jnp.sum(params)

    def loss(params, carry, batch, key):
        return jnp.sum(params * batch) + helper(params), (None, {})

    assert cost_of(dispatched(loss)) == 2
    weight = 3.0
    assert cost_of(dispatched(loss)) == 8


def test_a_loss_that_computes_the_same_keeps_its_programs():
    own = Penalized()
    one = dispatched(own.loss)
    own.options = {"scale": 1.0, "unused": object()}
    own.offset = np.zeros(3)
    own.power = lambda w: w
    two = dispatched(own.loss)
    longer = dispatched(own.loss, np.ones((3, 2), np.float32))  # as where a ragged run is resumed
    assert one.run is two.run is longer.run
    own.penalty = 1.0
    other = dispatched(own.loss, np.ones((3, 2), np.float32))
    assert other.run is not one.run
    assert cost_of(other) == 4  # as the shorter one too


def test_programs_that_no_longer_take_the_batches_of_the_last_run_are_made_anew():
    width = 2

    def loss(params, carry, batch, key):
        return jnp.sum(params * jnp.ones(width) * batch), (None, {})

    assert cost_of(dispatched(loss)) == 2
    width, wide = 3, jnp.ones(3)
    task = tiny_task()._replace(loss=loss, init=lambda key: wide)
    found = make_dispatch(task, SETTINGS, initial_state(task, SETTINGS), np.ones(3, np.float32))
    assert float(found.run(initial_state(task, SETTINGS), found.no_steps, (wide,))[2]) == 3


@dataclass
class Scaled:
    """A loss without a hash."""

    scale: float

    def __call__(self, params, carry, batch, key):
        return self.scale * jnp.sum(params * batch), (None, {})


def test_a_loss_may_have_no_hash():
    loss = Scaled(2.0)
    assert cost_of(dispatched(loss)) == 4
    loss.scale = 3.0
    assert cost_of(dispatched(loss)) == 6
    assert cost_of(dispatched(functools.partial(loss))) == 6


def test_params_may_have_an_explicit_sharding():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Explicit,))
    added = jax.shard_map(
        lambda w: jax.lax.psum(jnp.sum(w), "data"), mesh=mesh, in_specs=P("data"), out_specs=P()
    )

    def loss(params, carry, batch, key):
        return 3 * added(params), (None, {})

    task = tiny_task()._replace(loss=loss, init=lambda key: jnp.ones(2))

    def state():
        placed = jax.device_put(jnp.ones(2), NamedSharding(mesh, P("data")))
        return initial_state(task, SETTINGS)._replace(params=placed)

    first, again = (make_dispatch(task, SETTINGS, state(), BATCH) for _ in range(2))
    assert again.run is first.run
    assert float(first.run(state(), first.no_steps, (BATCH,))[2]) == 6
