"""A task that is learned in a second, with options for tests."""

import functools
from typing import Any, NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax.experiments.tasks import Metric, Recipe, Recurrence, Task

T, B, D, N = 5, 4, 2, 24
RECIPE = Recipe(40, learning_rate=0.02, clip_norm=0.5, warmup=0.1, average=0.0, evaluate_every=20)


class TinyBatch(NamedTuple):
    xs: Any  # [T, B, D]
    targets: Any  # [B]


class TinyParams(NamedTuple):
    cell: Any
    out: Any  # [H]


def examples():
    """Inputs [N, T, D] and targets [N]."""
    xs = np.random.default_rng(0).normal(size=(N, T, D)).astype(np.float32)
    return xs, xs.sum(axis=(1, 2)).astype(np.float32)


def batch_of(rows):
    xs, targets = examples()
    return TinyBatch(xs[rows].swapaxes(0, 1), targets[rows])


def shuffled(seed, size=B):
    rows = grain.MapDataset.source(np.arange(N)).seed(seed).shuffle().repeat().batch(size)
    return rows.map(batch_of)


@functools.cache  # so that runs of equal tasks share what they compile
def tiny_task(*, hidden=4, dropout=0.0, stateful=False, batches=shuffled, recipe=RECIPE):
    """Predict the sum of the entries of a sequence, in float32 whatever the default is."""
    cell = rnnjax.gru(hidden)

    def init(key):
        params = TinyParams(cell.init(key, D), jax.random.normal(key, (hidden,)))
        return jax.tree.map(lambda x: x.astype(jnp.float32), params)

    def loss(params, carry, batch, key):
        xs = jnp.asarray(batch.xs)
        if dropout and key is not None:
            xs = xs * jax.random.bernoulli(key, 1 - dropout, xs.shape)
        new, ys = rnnjax.unroll(cell, params.cell, xs, carry=carry)
        errors = ys[-1] @ params.out - batch.targets
        return jnp.mean(errors**2), (new if stateful else None, {"mae": jnp.mean(abs(errors))})

    def recurrence(params, batch):
        def cost(carry, ys):
            return jnp.sum((ys[-1] @ params.out - batch.targets) ** 2)

        return Recurrence(cell, params.cell, jnp.asarray(batch.xs), cost)

    def initial_carry():
        if not stateful:
            return None
        zeros = jax.eval_shape(lambda: cell.initial_carry(init(jax.random.key(0)).cell, (B,)))
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), zeros)

    held_out = batch_of(np.arange(N))

    @jax.jit
    def mse(params):
        return loss(params, None, held_out, None)[0]

    return Task(
        name="tiny",
        init=init,
        loss=loss,
        batches=batches,
        evaluate=lambda params: {"mse": float(mse(params))},
        metric=Metric("mse", "min"),
        recipe=recipe,
        initial_carry=initial_carry,
        baselines={"mean": float(np.var(held_out.targets))},
        recurrence=recurrence,
    )
