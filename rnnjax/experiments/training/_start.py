"""The state that a run begins with, and the step that it takes, from resolved settings."""

import jax
import jax.numpy as jnp

from rnnjax._types import Array
from rnnjax.experiments.tasks import Task
from rnnjax.experiments.training._settings import Settings, known, make_optimizer
from rnnjax.experiments.training._step import TrainState, start_training, train_step

# Folded into the seed's key; tasks fold the step, which stays far below.
_INIT, _DROPOUT = 2**31 - 1, 2**31 - 2


def initial_state(task: Task, settings: Settings) -> TrainState:
    """The state before the first step; [seeds, ...] if they are several."""
    optimizer = make_optimizer(settings)

    def start(seed: Array) -> TrainState:
        key = jax.random.key(seed)
        return start_training(
            task.init(jax.random.fold_in(key, _INIT)),
            optimizer,
            carry=task.initial_carry(),
            key=jax.random.fold_in(key, _DROPOUT),
            average=bool(settings.average),
        )

    seeds = jnp.arange(settings.seed, settings.seed + settings.seeds)
    state = start(seeds[0]) if settings.seeds == 1 else jax.vmap(start)(seeds)
    return jax.tree.map(jnp.copy, state)  # no array twice: each is handed to the first step


def task_step(task: Task, settings: Settings) -> jax.stages.Wrapped:
    """`train_step` on the task's loss, vmapped over seeds and jitted."""
    step = train_step(
        task.loss,
        make_optimizer(settings),
        accumulate=settings.accumulate,
        compute_dtype=settings.compute_dtype,
        average=known(settings.average),
        skip_nonfinite=settings.skip_nonfinite,
    )
    return jax.jit(step if settings.seeds == 1 else jax.vmap(step))
