"""How to train: `Settings`, and the optimiser that they describe."""

import inspect
import math
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax

from rnnjax._checks import check_choice, check_positive_int, check_rate
from rnnjax._types import PyTree
from rnnjax.tasks import Recipe
from rnnjax.training._step import global_norm

OPTIMIZERS = (
    *("adabelief", "adadelta", "adagrad", "adam", "adamax", "adamaxw", "adamw", "amsgrad", "lamb"),
    *("lars", "lion", "nadam", "nadamw", "novograd", "radam", "rmsprop", "sgd", "yogi"),
)
SCHEDULES = ("cosine", "constant")
_T = TypeVar("_T")

COMPUTE_DTYPES = ("bfloat16", "float16", "float32", "float64")


class Settings(NamedTuple):
    """How a task is trained. Where a field is None, the task's recipe says."""

    steps: int | None = None
    learning_rate: float | None = None  # at its peak
    schedule: str | None = None  # after the warm-up: "cosine" down to zero, or "constant"
    warmup: float | None = None  # share of the steps in which the rate rises, in [0, 1)
    optimizer: str | None = None  # one of OPTIMIZERS, optax's names
    weight_decay: float | None = None  # of the optimisers that have one
    clip_norm: float | None = None  # of the summed gradient, over all leaves together; inf: none
    clip_value: float = math.inf  # of each entry of the summed gradient, before clip_norm
    accumulate: int = 1  # batches that one step averages the gradient over
    compute_dtype: str | None = None  # inside the loss, such as "bfloat16"; None: the params' own
    average: float | None = None  # decay of the running average of params; 0: none
    seed: int = 0
    seeds: int = 1  # trained at once (vmapped): seed, seed + 1, …
    evaluate_every: int | None = None  # steps
    checkpoint_every: int | None = None  # steps; None: at evaluations, if that costs below 5 %
    log_every: int = 50  # steps that a line of metrics is the mean of
    dispatch: int | None = None  # steps given to the device at once; None: 10, or 1 (see fit)
    skip_nonfinite: bool = False  # leave out and count an update with NaN or Inf; else stop


def resolved(settings: Settings, recipe: Recipe) -> Settings:
    """The settings with every None filled in from the recipe, and checked.

    Raises:
      TypeError: a number of steps that is not an integer.
      ValueError: a value out of range, or an unknown name (the nearest is suggested).
    """
    of_recipe = recipe._asdict()
    of_recipe["clip_norm"] = math.inf if recipe.clip_norm is None else recipe.clip_norm
    given = {name: value for name, value in settings._asdict().items() if value is not None}
    full = Settings(**{**of_recipe, **given})
    for name in ("steps", "accumulate", "seeds", "evaluate_every", "log_every"):
        check_positive_int(name, getattr(full, name))
    for name in ("checkpoint_every", "dispatch"):
        if getattr(full, name) is not None:
            check_positive_int(name, getattr(full, name))
    for name in ("warmup", "average"):
        check_rate(name, getattr(full, name))
    for name in ("learning_rate", "clip_norm", "clip_value"):
        if not getattr(full, name) > 0:
            raise ValueError(f"{name} must be above 0, got {getattr(full, name)}")
    _check_names(full)
    return full


def _check_names(settings: Settings) -> None:
    choices: Iterable[tuple[str, tuple[str, ...]]] = (
        ("optimizer", OPTIMIZERS),
        ("schedule", SCHEDULES),
        ("compute_dtype", COMPUTE_DTYPES),
    )
    for name, allowed in choices:
        value = getattr(settings, name)
        if value is not None:
            check_choice(name, value, allowed)
    if settings.weight_decay and not _decays(str(settings.optimizer)):
        able = ", ".join(name for name in OPTIMIZERS if _decays(name))
        raise ValueError(
            f"optimizer {settings.optimizer!r} has no weight decay, got weight_decay = "
            f"{settings.weight_decay}: take one of {able}"
        )


def _decays(optimizer: str) -> bool:
    return "weight_decay" in inspect.signature(getattr(optax, optimizer)).parameters


def learning_rates(settings: Settings) -> optax.Schedule:
    """The learning rate by step, from resolved settings.

    It rises linearly over the warm-up, from peak/(n + 1) at the first of its n steps.
    """
    steps, peak = known(settings.steps), known(settings.learning_rate)
    rise = round(known(settings.warmup) * steps)
    if settings.schedule == "constant":
        return optax.linear_schedule(peak / (rise + 1), peak, rise) if rise else lambda _: peak
    return optax.warmup_cosine_decay_schedule(peak / (rise + 1), peak, rise, max(steps, rise + 1))


def make_optimizer(settings: Settings) -> optax.GradientTransformation:
    """Clip by value, clip by global norm, then the optimiser; from resolved settings."""
    parts: list[optax.GradientTransformation] = []
    if math.isfinite(settings.clip_value):
        parts.append(optax.clip(settings.clip_value))
    if math.isfinite(known(settings.clip_norm)):
        parts.append(_clip_by_global_norm(known(settings.clip_norm)))
    name = str(settings.optimizer)
    options = {"weight_decay": settings.weight_decay} if _decays(name) else {}
    return optax.chain(*parts, getattr(optax, name)(learning_rates(settings), **options))


def _clip_by_global_norm(limit: float) -> optax.GradientTransformation:
    """As optax's, for gradients as large as a float can be.

    optax's norm overflows from about 1e19 on in float32, where its clipping then makes zero of
    every gradient.
    """

    def update(updates: PyTree, state: Any, params: Any = None) -> tuple[PyTree, Any]:
        norm = global_norm(updates)
        factor = jnp.where(norm > limit, limit / norm, 1.0)
        return jax.tree.map(lambda g: (g * factor).astype(g.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def known(value: _T | None) -> _T:
    """A field of resolved settings, in which none is None."""
    if value is None:
        raise ValueError(
            "settings must be resolved with a recipe first: resolved(settings, recipe)"
        )
    return value
