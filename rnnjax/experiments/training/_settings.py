"""How to train: `Settings`, and the optimiser that they describe."""

import inspect
import math
from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax

from rnnjax._checks import check_choice, check_positive_int, check_rate
from rnnjax._types import PyTree
from rnnjax.experiments.tasks import Recipe
from rnnjax.experiments.training._step import global_norm

OPTIMIZERS = (
    *("adabelief", "adadelta", "adagrad", "adam", "adamax", "adamaxw", "adamw", "amsgrad", "lamb"),
    *("lars", "lion", "nadam", "nadamw", "novograd", "radam", "rmsprop", "sgd", "yogi"),
)
SCHEDULES = ("cosine", "constant")
_T = TypeVar("_T")

COMPUTE_DTYPES = ("bfloat16", "float16", "float32", "float64")


class Settings(NamedTuple):
    """How a task is trained. Where a field is None, the task's recipe says."""

    steps: Annotated[int | None, "Training steps."] = None
    learning_rate: Annotated[float | None, "Learning rate at its peak."] = None
    schedule: Annotated[
        str | None, "Learning rate after the warm-up: cosine, down to zero, or constant."
    ] = None
    warmup: Annotated[
        float | None, "Share of the steps in which the learning rate rises, in [0, 1)."
    ] = None
    optimizer: Annotated[str | None, "One of optax's: adamw, adam, sgd, rmsprop, lion …"] = None
    weight_decay: Annotated[float | None, "Of the optimisers that have one."] = None
    clip_norm: Annotated[
        float | None,
        "Clip the summed gradient, all leaves together, to this norm; inf: do not.",
    ] = None
    clip_value: Annotated[
        float, "Clip each entry of the summed gradient to ± this, before clip_norm."
    ] = math.inf
    accumulate: Annotated[int, "Batches that one step averages the gradient over."] = 1
    compute_dtype: Annotated[
        str | None, "Dtype inside the loss, such as bfloat16; by default that of the params."
    ] = None
    average: Annotated[
        float | None, "Decay of a running average of params, which is what is tested; 0: none."
    ] = None
    seed: Annotated[int, "Of the initial weights, the order of the data, and dropout."] = 0
    seeds: Annotated[int, "Nets to train at once (vmapped): seed, seed + 1, …"] = 1
    evaluate_every: Annotated[int | None, "Steps between two looks at held-out data."] = None
    checkpoint_every: Annotated[
        int | None,
        "Steps between checkpoints; by default at evaluations, if that costs below 5 %. The best "
        "is kept in any case.",
    ] = None
    log_every: Annotated[int, "Steps that a line of metrics.jsonl is the mean of."] = 50
    dispatch: Annotated[
        int | None, "Steps given to the device at once; by default 10, or 1 (see training.fit)."
    ] = None
    skip_nonfinite: Annotated[
        bool, "Leave out an update with NaN or Inf, and count it, instead of stopping."
    ] = False


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
    if not math.isfinite(known(full.learning_rate)):
        raise ValueError(f"learning_rate must be finite, got {full.learning_rate}")
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
    if settings.compute_dtype == "float64" and not jax.config.read("jax_enable_x64"):
        raise ValueError(
            "compute_dtype float64 needs JAX's 64 bits, which are off: set JAX_ENABLE_X64=1, or "
            "take float32"
        )
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
