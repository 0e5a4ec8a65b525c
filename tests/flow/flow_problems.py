"""Params and inputs without the time that compiling an `init` takes, and programs of `record`."""

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.flow import record


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def drawn(cell, inputs, scale=0.6):
    """Gaussian params in the form of `cell.init(key, inputs)`."""
    rng = np.random.default_rng(0)
    form = jax.eval_shape(lambda key: cell.init(key, inputs), jax.random.key(0))
    return jax.tree.map(
        lambda leaf: jnp.asarray(scale * rng.standard_normal(leaf.shape), leaf.dtype), form
    )


def recorded(cell, params, xs, cost, **options):
    """`record`, compiled as a whole."""
    return jax.jit(lambda params, xs, options: record(cell, params, xs, cost, **options))(
        params, xs, options
    )
