"""Params of a task for tests: random ones, and those after the shortest training loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from by_numpy import evaluated


def random_params(task, scale=0.3):
    """Params drawn by NumPy: initialisers take far longer to compile than most losses."""
    random = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(scale * random.normal(size=leaf.shape), leaf.dtype),
        jax.eval_shape(task.init, jax.random.key(0)),
    )


def trained(task, steps, rate, *, dropout=False):
    """The params of a task after some steps of Adam on its batches."""
    params, carry = evaluated(task.init)(jax.random.key(0)), task.initial_carry()
    optimizer = optax.adam(rate)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, carry, batch, key):
        grads, (carry, _) = jax.grad(task.loss, has_aux=True)(params, carry, batch, key)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, carry

    batches = task.batches(0)
    for k in range(steps):
        key = jax.random.key(k) if dropout else None
        params, state, carry = step(params, state, carry, batches[k], key)
    return params
