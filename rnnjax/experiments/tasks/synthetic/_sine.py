"""Closed-loop forecasting of sine waves."""

from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._names import option
from rnnjax._types import Array
from rnnjax.experiments._fields import with_checked_options
from rnnjax.experiments.tasks._options import (
    BatchSize,
    CellOption,
    ClipInLoop,
    Context,
    Hidden,
    Horizon,
    Layers,
    Noise,
    TestSize,
    make_cell,
)
from rnnjax.experiments.tasks._task import Metric, Recipe, Task
from rnnjax.experiments.tasks.synthetic._forecasting import check_spans, forecasting


@with_checked_options
def sine(
    *,
    cell: CellOption = "lstm",
    hidden: Hidden = 32,
    layers: Layers = 1,
    min_period: Annotated[float, "Shortest period, in steps."] = 15.0,
    max_period: Annotated[float, "Longest period, in steps."] = 30.0,
    length: Annotated[int, "Steps of a training sequence."] = 100,
    context: Context = 50,
    horizon: Horizon = 50,
    noise: Noise = 0.02,
    batch_size: BatchSize = 64,
    test_size: TestSize = 500,
    clip_in_loop: ClipInLoop = None,
) -> Task:
    """Closed-loop forecast of a sine wave of unknown period and phase.

        x_t = sin(2π t / P + φ),   P ~ U[P_min, P_max],   φ ~ U[0, 2π)

    Trained one step ahead; in evaluation the model reads `context` steps, then its own outputs.

    Metric: the root of the mean squared error over `horizon` steps. "mean" predicts zero,
    √½ = 0.707; "naive" repeats the last value, √⟨1 - cos(2π k / P)⟩ over k = 1 … horizon and P.

    Args:
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer.
      layers: number of stacked layers.
      min_period: P_min, above 2 steps.
      max_period: P_max.
      length: steps of a training sequence.
      context: steps of context before a forecast.
      horizon: steps to forecast.
      noise: standard deviation of the noise added to the inputs in training; without it a model
        does not learn to correct its own errors.
      batch_size: sequences per training batch.
      test_size: number of test sequences.
      clip_in_loop: limit of each component of ∂C/∂z_t inside the backward loop, as by
        `rnnjax.bptt(clip=clip_by_value(limit))`; without it the exact gradient.

    Returns:
      A `Task` with `infer["forecast"](params, *, steps) -> [steps, 1]`.

    Raises:
      TypeError: a span or a size that is not an int.
      ValueError: an unknown cell, periods in the wrong order or not above 2, spans that are too
        short, a size below 1, or negative noise.

    Example:
      >>> from rnnjax.experiments.tasks import sine
      >>> batch = sine(min_period=4, max_period=4, noise=0.0).batches(0)[0]
      >>> x = batch.xs[:, 0, 0]
      >>> round(float(abs(x[4:] - x[:-4]).max()), 4)
      0.0
    """
    if not 2 < min_period <= max_period:
        raise ValueError(
            f"periods must satisfy 2 < {option('min_period')} <= {option('max_period')}, got "
            f"{min_period} and {max_period}"
        )
    return forecasting(
        "sine",
        make_cell(cell, hidden, layers),
        partial(_series, low=min_period, high=max_period),
        check_spans(length, context, horizon),
        batch_size=batch_size,
        test_size=test_size,
        noise=noise,
        score=_score,
        metric=Metric("rmse", "min"),
        recipe=Recipe(steps=3000, learning_rate=1e-2),
        clip_in_loop=clip_in_loop,
        baselines={"mean": 0.5**0.5, "naive": _naive(min_period, max_period, horizon)},
    )


def _series(key: Array, batch: int, steps: int, low: float, high: float) -> Array:
    key_period, key_phase = jax.random.split(key)
    period = jax.random.uniform(key_period, (1, batch), minval=low, maxval=high)
    phase = jax.random.uniform(key_phase, (1, batch), maxval=2 * jnp.pi)
    t = jnp.arange(steps, dtype=period.dtype)[:, None]
    return jnp.sin(2 * jnp.pi * t / period + phase)[..., None]


def _score(forecasts: Array, truth: Array) -> dict[str, Array]:
    return {"rmse": jnp.sqrt(jnp.mean((forecasts - truth) ** 2))}


def _naive(low: float, high: float, horizon: int) -> float:
    """⟨(sin(a + ωk) - sin a)²⟩ over the phase a is 1 - cos ωk."""
    periods = np.linspace(low, high, 1001)
    lags = np.arange(1, horizon + 1)
    return float(np.sqrt(np.mean(1 - np.cos(2 * np.pi * lags[:, None] / periods[None]))))
