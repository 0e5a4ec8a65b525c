"""From settings to what a run needs: optimizer, learning rates, initial state, compiled step."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax._dtypes import standard_promotion
from rnnjax._types import Array, PyTree
from rnnjax.experiments.tasks import Batch, Loss, Task
from rnnjax.experiments.training._settings import GIVEN, ResolvedSettings, has_weight_decay
from rnnjax.experiments.training._step import (
    TrainState,
    TrainStep,
    global_norm,
    start_training,
    train_step,
)

# Folded into the seed's key. Tasks fold the step into it, which stays far below these numbers.
_INIT, _DROPOUT = 2**31 - 1, 2**31 - 2


def learning_rates(settings: ResolvedSettings) -> optax.Schedule:
    """The learning rate as a function of the step.

    It rises linearly over the n steps of the warm-up, starting from peak/(n + 1).
    """
    steps, peak = settings.steps, settings.learning_rate
    rise = round(settings.warmup * steps)
    low = peak / (rise + 1)
    if settings.schedule == "cosine":
        schedule = optax.warmup_cosine_decay_schedule(low, peak, rise, max(steps, rise + 1))
    else:
        schedule = optax.linear_schedule(low, peak, rise) if rise else lambda _: peak

    def rate(step: Any) -> Any:
        with standard_promotion():
            return schedule(step)

    return rate


def same_rates(settings: ResolvedSettings, steps: int) -> bool:
    """Whether a run of so many steps begins with the learning rates that these settings give.

    Those of an optimizer that is given are its own.
    """
    if settings.optimizer == GIVEN:
        return True
    rises = {round(settings.warmup * each) for each in (steps, settings.steps)}
    return steps == settings.steps or (settings.schedule == "constant" and len(rises) == 1)


def make_optimizer(settings: ResolvedSettings) -> optax.GradientTransformation:
    """The optimizer: clip by value, clip by global norm, then the named optimizer of optax."""
    parts: list[optax.GradientTransformation] = []
    if math.isfinite(settings.clip_value):
        parts.append(optax.clip(settings.clip_value))
    if math.isfinite(settings.clip_norm):
        parts.append(_clip_by_global_norm(settings.clip_norm))
    decays = has_weight_decay(settings.optimizer)
    options = {"weight_decay": settings.weight_decay} if decays else {}
    named = getattr(optax, settings.optimizer)
    return optax.chain(*parts, named(learning_rates(settings), **options))


def _clip_by_global_norm(limit: float) -> optax.GradientTransformation:
    """As `optax.clip_by_global_norm`, without overflow.

    optax's norm overflows from about 1e19 on in float32, and its clipping then sets every gradient
    to zero.
    """

    def update(updates: PyTree, state: Any, params: Any = None) -> tuple[PyTree, Any]:
        norm = global_norm(updates)
        factor = jnp.where(norm > limit, limit / norm, 1.0)
        return jax.tree.map(lambda g: (g * factor).astype(g.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def initial_state(
    task: Task,
    settings: ResolvedSettings,
    optimizer: optax.GradientTransformation | None = None,
) -> TrainState:
    """The state before the first step, with a leading axis if there are several seeds."""
    optimizer = optimizer or make_optimizer(settings)

    def start(seed: Array) -> TrainState:
        key = jax.random.key(seed)
        return start_training(
            task.init(jax.random.fold_in(key, _INIT)),
            optimizer,
            carry=task.initial_carry(),
            key=jax.random.fold_in(key, _DROPOUT),
            average=bool(settings.average),
        )

    seeds = jnp.asarray(np.arange(settings.seed, settings.seed + settings.seeds), jnp.uint32)
    state = start(seeds[0]) if settings.seeds == 1 else jax.vmap(start)(seeds)
    # Copied so that no two leaves share a buffer: the first step donates them all.
    return jax.tree.map(jnp.copy, state)


def seeds_step(
    loss: Loss,
    terms: Callable[[Batch], Array] | None,
    settings: ResolvedSettings,
    optimizer: optax.GradientTransformation | None = None,
) -> TrainStep:
    """`train_step` on a task's loss, vmapped over seeds."""
    dtype = settings.compute_dtype
    step = train_step(
        loss,
        optimizer or make_optimizer(settings),
        accumulate=settings.accumulate,
        terms=terms,
        compute_dtype=None if dtype == "params" else dtype,
        average=settings.average,
        skip_nonfinite=settings.skip_nonfinite,
    )
    return step if settings.seeds == 1 else jax.vmap(step)
