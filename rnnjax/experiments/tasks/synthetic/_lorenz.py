"""Closed-loop forecasting of the Lorenz system."""

from typing import Annotated

import jax
import jax.numpy as jnp

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

SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3
INTERVAL = 0.02  # sampling interval; one Runge-Kutta step
LYAPUNOV_EXPONENT = 0.9056  # the largest, per unit of time
TOLERANCE = 0.4  # a forecast is valid while its normalised error is below this
MEAN, DEVIATION = (0.0, 0.0, 23.55), (7.92, 9.01, 8.62)  # of x, y, z on the attractor
NAIVE = 0.11  # valid time of the naive forecast
_TRANSIENT = 500  # steps to reach the attractor


@with_checked_options
def lorenz(
    *,
    cell: CellOption = "gru",
    hidden: Hidden = 64,
    layers: Layers = 1,
    length: Annotated[int, "Steps of a training sequence."] = 100,
    context: Context = 100,
    horizon: Horizon = 400,
    noise: Noise = 0.0,
    batch_size: BatchSize = 64,
    test_size: TestSize = 200,
    clip_in_loop: ClipInLoop = None,
) -> Task:
    """Closed-loop forecast of the Lorenz system from its three coordinates.

        ẋ = σ (y - x),   ẏ = x (ρ - z) - y,   ż = x y - β z        σ = 10, ρ = 28, β = 8/3

    sampled every 0.02 units of time (fourth-order Runge-Kutta) from random starts after a
    transient of 10 units, and normalised to mean 0 and standard deviation 1. Nearby
    trajectories diverge by a factor of e in 1/λ = 1.10 units, with the Lyapunov exponent
    λ = 0.9056.

    Metric: the valid time in Lyapunov times 1/λ: how long the error ‖x̂ - x‖ / √⟨‖x‖²⟩ of the
    forecast stays below 0.4, averaged over the test series; at most `horizon` steps of 0.018
    Lyapunov times each. The naive forecast, the last value, is valid for 0.11.

    Args:
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer.
      layers: number of stacked layers.
      length: steps of a training sequence.
      context: steps of context before a forecast.
      horizon: steps to forecast.
      noise: standard deviation of the noise added to the inputs in training.
      batch_size: sequences per training batch.
      test_size: number of test sequences.
      clip_in_loop: limit of each component of ∂C/∂z_t inside the backward loop, as by
        `rnnjax.bptt(clip=clip_by_value(limit))`; without it the exact gradient.

    Returns:
      A `Task` with `infer["forecast"](params, *, steps) -> [steps, 3]`, normalised.

    Raises:
      TypeError: a span or a size that is not an int.
      ValueError: an unknown cell, spans that are too short, a size below 1, or negative noise.

    Example:
      >>> from rnnjax.experiments.tasks import lorenz
      >>> lorenz(length=10).batches(0)[0].xs.shape
      (10, 64, 3)

    References:
      Lorenz (1963), Deterministic nonperiodic flow, Journal of the Atmospheric Sciences 20.
      Pathak, Hunt, Girvan, Lu & Ott (2018), Model-free prediction of large spatiotemporally
      chaotic systems from data, Physical Review Letters 120, for the valid time.
    """
    return forecasting(
        "lorenz",
        make_cell(cell, hidden, layers),
        _series,
        check_spans(length, context, horizon),
        batch_size=batch_size,
        test_size=test_size,
        noise=noise,
        score=_score,
        metric=Metric("valid_time", "max", "Lyapunov times"),
        recipe=Recipe(steps=4000, learning_rate=3e-3),
        clip_in_loop=clip_in_loop,
        baselines={"naive": NAIVE},
    )


def _series(key: Array, batch: int, steps: int) -> Array:
    mean, deviation = jnp.array(MEAN)[:, None], jnp.array(DEVIATION)[:, None]
    start = mean + deviation * jax.random.normal(key, (3, batch))
    start = jax.lax.fori_loop(0, _TRANSIENT, lambda _, state: _advanced(state), start)

    def step(state: Array, _: None) -> tuple[Array, Array]:
        return _advanced(state), (state - mean) / deviation

    _, states = jax.lax.scan(step, start, None, length=steps)
    return jnp.swapaxes(states, 1, 2)


def _advanced(state: Array) -> Array:
    """The state one interval later, by the classical Runge-Kutta method."""
    h = INTERVAL
    k_1 = _velocity(state)
    k_2 = _velocity(state + h / 2 * k_1)
    k_3 = _velocity(state + h / 2 * k_2)
    k_4 = _velocity(state + h * k_3)
    return state + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)


def _velocity(state: Array) -> Array:
    x, y, z = state
    return jnp.stack([SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z])


def _score(forecasts: Array, truth: Array) -> dict[str, Array]:
    size = jnp.sqrt(jnp.mean(jnp.sum(truth**2, axis=-1)))
    errors = jnp.sqrt(jnp.sum((forecasts - truth) ** 2, axis=-1)) / size  # [horizon, B]
    valid = jnp.cumprod(errors < TOLERANCE, axis=0)  # NaN is not below
    steps = jnp.mean(jnp.sum(valid, axis=0))
    return {
        "valid_time": steps * INTERVAL * LYAPUNOV_EXPONENT,
        "one_step_rmse": jnp.sqrt(jnp.mean((forecasts[0] - truth[0]) ** 2)),
    }
