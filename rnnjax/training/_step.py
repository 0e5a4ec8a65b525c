"""One training step, pure and jittable, over any cost and any optax optimiser."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnnjax._types import Array, Params, PyTree


class TrainState(NamedTuple):
    params: Params
    opt_state: PyTree
    step: Array  # [] int32, steps taken


class Metrics(NamedTuple):
    cost: Array  # [] before the update
    gradient_norm: Array  # [] global norm, before clipping


TrainStep = Callable[[TrainState, Any], tuple[TrainState, Metrics]]


def start_training(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))


def train_step(
    cost: Callable[[Params, Any], Array], optimizer: optax.GradientTransformation
) -> TrainStep:
    """A step `(state, batch) -> (state, metrics)`: differentiate, clip, update.

    Args:
      cost: `(params, batch) -> scalar`.
      optimizer: any optax transformation, clipping included.

    Returns:
      A pure function for `jit`, `vmap` over seeds and `lax.scan` over batches.
    """

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        value, grads = jax.value_and_grad(cost)(state.params, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = Metrics(value, jnp.asarray(optax.tree.norm(grads)))
        return TrainState(params, opt_state, state.step + 1), metrics

    return step
