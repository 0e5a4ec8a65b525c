"""How to train: the settings that a user gives, and the complete ones that a run takes."""

import inspect
import math
from typing import Annotated, Any, NamedTuple

import jax
import optax

from rnnjax._arguments import check_seed
from rnnjax._checks import check_choice, check_positive_int, check_rate, described
from rnnjax._names import option
from rnnjax.experiments._fields import as_declared, fields_of
from rnnjax.experiments.tasks import Recipe

OPTIMIZERS = (
    *("adabelief", "adadelta", "adagrad", "adam", "adamax", "adamaxw", "adamw", "amsgrad", "lamb"),
    *("lars", "lion", "nadam", "nadamw", "novograd", "radam", "rmsprop", "sgd", "yogi"),
)
"""The optimisers that `Settings.optimizer` may name: optax's of the same names."""
SCHEDULES = ("cosine", "constant")
"""What the learning rate does after its warm-up: `Settings.schedule`."""
COMPUTE_DTYPES = ("bfloat16", "float16", "float32", "float64")
# What the fields below are resolved to where neither the user nor the recipe sets them.
AUTOMATIC = {"compute_dtype": "params", "checkpoint_every": 0, "dispatch": 0}
GIVEN = "given"  # ResolvedSettings.optimizer where `fit` has been given one
_OF_NAMED = ("learning_rate", "schedule", "warmup", "weight_decay", "clip_norm", "clip_value")


class Settings(NamedTuple):
    """Training settings. None means the task's recipe decides, or the default in the help text."""

    steps: Annotated[int | None, "Training steps."] = None
    learning_rate: Annotated[float | None, "Peak learning rate."] = None
    schedule: Annotated[
        str | None, "Learning rate after the warm-up: cosine (decays to zero) or constant."
    ] = None
    warmup: Annotated[
        float | None, "Fraction of the steps over which the learning rate rises, in [0, 1)."
    ] = None
    optimizer: Annotated[str | None, "Any of optax's: adamw, adam, sgd, rmsprop, lion …"] = None
    weight_decay: Annotated[float | None, "Weight decay, for optimizers that have one."] = None
    clip_norm: Annotated[
        float | None, "Clip the gradient to this global norm; inf: no clipping."
    ] = None
    clip_value: Annotated[
        float, "Clip each entry of the gradient to ± this value, before `clip_norm`."
    ] = math.inf
    accumulate: Annotated[int, "Gradient accumulation: batches in one step, as one large one."] = 1
    compute_dtype: Annotated[
        str | None, "Dtype of the forward and backward pass, such as bfloat16; default: as params."
    ] = None
    average: Annotated[
        float | None, "Decay of an exponential moving average of params, used to evaluate; 0: none."
    ] = None
    seed: Annotated[int, "Seed of the initial weights, the order of the data, and dropout."] = 0
    seeds: Annotated[int, "Models trained at once (vmapped), from `seed` on: seed, seed + 1, …"] = 1
    evaluate_every: Annotated[int | None, "Steps between evaluations on held-out data."] = None
    checkpoint_every: Annotated[
        int | None,
        "Steps between checkpoints; default: at evaluations, while that takes below 5 % of the "
        "time. The best checkpoint is always kept.",
    ] = None
    log_every: Annotated[int, "Steps averaged into each line of metrics.jsonl."] = 50
    dispatch: Annotated[
        int | None,
        "Steps dispatched to the device at once; default: 10, or 1 on the CPU with convolutions.",
    ] = None
    skip_nonfinite: Annotated[
        bool, "Skip and count updates with NaN or Inf instead of stopping."
    ] = False


class ResolvedSettings(NamedTuple):
    """`Settings` with every field decided: no field is None."""

    steps: int
    learning_rate: float
    schedule: str
    warmup: float
    optimizer: str  # GIVEN: not named, and then the fields in _OF_NAMED do not count
    weight_decay: float
    clip_norm: float  # inf: no clipping
    clip_value: float  # inf: no clipping
    accumulate: int
    compute_dtype: str  # "params": the dtype of the params
    average: float  # 0: no moving average
    seed: int
    seeds: int
    evaluate_every: int
    checkpoint_every: int  # 0: at evaluations, while that takes little of the time
    log_every: int
    dispatch: int  # 0: decided from the compiled step
    skip_nonfinite: bool

    def recorded(self) -> dict[str, Any]:
        """The fields for config.toml, without those that are left automatic or do not count."""
        unused = _OF_NAMED if self.optimizer == GIVEN else ()
        return {
            name: value
            for name, value in self._asdict().items()
            if AUTOMATIC.get(name) != value and name not in unused
        }


def resolve(settings: Settings, recipe: Recipe) -> ResolvedSettings:
    """Fill in what is not set from the recipe, and validate the result.

    Raises:
      TypeError: a field of another type than is declared, such as steps that are no integer.
      ValueError: a value out of range, or an unknown name (the nearest is suggested).
    """
    if not isinstance(settings, Settings):
        raise TypeError(
            "settings must be training.Settings, such as Settings(steps=1000), got "
            f"{described(settings)}"
        )
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe must be a Recipe, as Task.recipe is, got {described(recipe)}")
    if isinstance(settings.optimizer, optax.GradientTransformation) or callable(settings.optimizer):
        raise TypeError(
            f"{option('optimizer')} of Settings is a name, such as 'sgd', got "
            f"{described(settings.optimizer)}: give it to `fit` itself, beside the settings"
        )
    fields = fields_of(Settings)
    declared = {
        name: as_declared(name, value, fields[name]) for name, value in settings._asdict().items()
    }
    given = {name: value for name, value in declared.items() if value is not None}
    for name in ("checkpoint_every", "dispatch"):
        if name in given:
            check_positive_int(name, given[name])
    if "compute_dtype" in given:
        _check_compute_dtype(given["compute_dtype"])
    clip_norm = math.inf if recipe.clip_norm is None else recipe.clip_norm
    filled = {**AUTOMATIC, **recipe._asdict(), "clip_norm": clip_norm, **given}
    return _validated(ResolvedSettings(**filled))


def with_given_optimizer(settings: Settings, full: ResolvedSettings) -> ResolvedSettings:
    """`full` for a run by an optimizer that is given to `fit`: it clips and has its own rates.

    Raises:
      ValueError: settings of the named optimizer, which would have no effect.
    """
    for name in ("optimizer", *_OF_NAMED):
        value = getattr(settings, name)
        if value != Settings._field_defaults[name]:
            raise ValueError(
                f"{option(name, value)} has no effect where `fit` is given an optimizer: leave it "
                "out of the settings, and give the optimizer its rates and clipping, as "
                "optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)) does"
            )
    return full._replace(optimizer=GIVEN, clip_norm=math.inf, clip_value=math.inf)


def _validated(full: ResolvedSettings) -> ResolvedSettings:
    for name in ("steps", "accumulate", "seeds", "evaluate_every", "log_every"):
        check_positive_int(name, getattr(full, name))
    for name in ("warmup", "average"):
        check_rate(name, getattr(full, name))
    for name in ("learning_rate", "clip_norm", "clip_value"):
        if not getattr(full, name) > 0:
            raise ValueError(f"{option(name)} must be above 0, got {getattr(full, name)}")
    if not math.isfinite(full.learning_rate):
        raise ValueError(f"{option('learning_rate')} must be finite, got {full.learning_rate}")
    if not 0 <= full.weight_decay < math.inf:
        raise ValueError(
            f"{option('weight_decay')} must be at least 0 and finite, got {full.weight_decay}"
        )
    if check_seed("seed", full.seed) + full.seeds > 2**32:
        raise ValueError(
            f"{option('seed')} + {option('seeds')} must be at most 2^32, got {full.seed} + "
            f"{full.seeds}"
        )
    check_choice("optimizer", full.optimizer, OPTIMIZERS)
    check_choice("schedule", full.schedule, SCHEDULES)
    if full.weight_decay and not has_weight_decay(full.optimizer):
        able = ", ".join(filter(has_weight_decay, OPTIMIZERS))
        raise ValueError(
            f"{option('optimizer', full.optimizer)} has no weight decay, got "
            f"{option('weight_decay', full.weight_decay)}: take one of {able}"
        )
    return full


def _check_compute_dtype(dtype: str) -> None:
    check_choice("compute_dtype", dtype, COMPUTE_DTYPES)
    if dtype == "float64" and not jax.config.read("jax_enable_x64"):
        raise ValueError(
            f"{option('compute_dtype', dtype)} needs JAX's 64 bits, which are off: set "
            "JAX_ENABLE_X64=1, or take float32"
        )


def has_weight_decay(optimizer: str) -> bool:
    """Whether an optimizer of optax has the option `weight_decay`."""
    return "weight_decay" in inspect.signature(getattr(optax, optimizer)).parameters
