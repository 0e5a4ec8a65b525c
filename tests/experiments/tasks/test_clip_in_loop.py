"""Clipping inside the backward loop, from an option of a task to its gradient."""

from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_numpy import evaluated

import rnnjax
from rnnjax.experiments.tasks import parity, sequential_digits, sine, temporal_order
from rnnjax.gradients import clip_by_value
from rnnjax.scenarios import cross_entropy

LIMIT = 1e-3
SIZES = {
    parity: {"max_length": 8},
    temporal_order: {"length": 20},
    sine: {"length": 20},
    sequential_digits: {"read": "rows"},
}


@cache
def gradient_of(make, layers=1, limit=None):
    task = make(
        cell="vanilla", hidden=4, layers=layers, batch_size=5, clip_in_loop=limit, **SIZES[make]
    )
    params, batch = task.init(jax.random.key(0)), task.batches(0)[0]
    return params, batch, evaluated(jax.grad(lambda p: task.loss(p, None, batch, None)[0]))(params)


def by_unroll(params, batch, layers, gradient):
    """The gradient of parity's or temporal order's cost, without the task."""
    cell = rnnjax.vanilla(4) if layers == 1 else rnnjax.stack(*[rnnjax.vanilla(4)] * 2)

    def cost(params):
        _, ys = rnnjax.unroll(
            cell, params.layer, batch.xs, lengths=batch.lengths, gradient=gradient
        )
        every = batch.targets.ndim == 2
        logits = nn.Dense(params.head["params"]["bias"].size).apply(
            params.head, ys if every else ys[-1]
        )
        return cross_entropy(jnp.asarray(logits), batch.targets, batch.valid)

    return evaluated(jax.grad(cost))(params)


@pytest.mark.parametrize("make", [parity, temporal_order])
@pytest.mark.parametrize("layers", [1, 2])
def test_the_gradient_is_that_of_unroll_with_the_clip(make, layers):
    params, batch, clipped = gradient_of(make, layers, LIMIT)
    expected = by_unroll(params, batch, layers, rnnjax.bptt(clip=clip_by_value(LIMIT)))
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7),
        clipped,
        expected,
    )
    exact = gradient_of(make, layers)[2]
    assert norm_of_difference(exact.layer, clipped.layer) > 0.1 * norm_of(exact.layer)
    assert norm_of_difference(exact.head, clipped.head) < 1e-6


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("make", [sine, sequential_digits])
def test_forecasts_and_images_take_it_too(make):
    clipped, exact = (gradient_of(make, limit=limit)[2] for limit in (1e-5, None))
    assert norm_of_difference(exact.layer, clipped.layer) > 0.1 * norm_of(exact.layer)


def test_a_limit_that_is_never_reached_changes_nothing():
    exact, clipped = (gradient_of(parity, limit=limit)[2] for limit in (None, 1e6))
    assert norm_of_difference(exact, clipped) < 1e-6 * norm_of(exact)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_limit_must_be_positive(limit):
    with pytest.raises(ValueError, match=r"clip_in_loop must be a (limit above 0|real number)"):
        parity(hidden=2, clip_in_loop=limit)


def norm_of(tree):
    return float(jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree))))


def norm_of_difference(one, other):
    return norm_of(jax.tree.map(jnp.subtract, one, other))
