"""Forecasting of synthetic series: one-step training, closed-loop evaluation."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax._checks import check_positive_int
from rnnjax._types import Array, Cell, Params
from rnnjax.experiments.tasks._options import check_at_least, check_spread
from rnnjax.experiments.tasks._sequences import Sequences, regression
from rnnjax.experiments.tasks._task import Metric, Recipe, Task
from rnnjax.experiments.tasks.synthetic._build import TEST_SEED, build, check_test_set
from rnnjax.scenarios import closed_loop, many_to_many

Series = Callable[[Array, int, int], Array]  # (key, batch, steps) -> [steps, batch, D]


class Spans(NamedTuple):
    length: int  # of a training sequence
    context: int  # steps of context before a forecast
    horizon: int  # steps to forecast


def forecasting(
    name: str,
    cell: Cell,
    series: Series,
    spans: Spans,
    *,
    batch_size: int,
    test_size: int,
    noise: float,
    score: Callable[[Array, Array], dict[str, Array]],
    metric: Metric,
    recipe: Recipe,
    baselines: Mapping[str, float],
    clip_in_loop: float | None,
) -> Task:
    """A task of next-value regression, evaluated in closed loop.

        training:  x̂_{t+1} = net(x_1 + noise, …, x_t + noise)
        forecast:  x̂_{t+1} = net(x_1, …, x_c, x̂_{c+1}, …, x̂_t)        t = c … c + horizon - 1

    Args:
      name, cell, metric, recipe, baselines, clip_in_loop: as for `build`.
      series: (key, batch, steps) -> random series.
      spans: lengths of training sequences, of contexts and of forecasts.
      batch_size: series per training batch.
      test_size: number of test series.
      noise: standard deviation of the noise added to the inputs in training.
      score: (forecasts, truth, both [horizon, B, D]) -> scores by name.

    Raises:
      TypeError: a size that is not an int.
      ValueError: a size below 1, or negative noise.
    """
    check_positive_int("batch_size", batch_size)
    check_positive_int("test_size", test_size)
    check_spread("noise", noise)

    def draw(key: Array) -> Sequences:
        key_series, key_noise = jax.random.split(key)
        xs = series(key_series, batch_size, spans.length + 1)
        inputs = xs[:-1]
        if noise > 0:
            inputs = inputs + noise * jax.random.normal(key_noise, inputs.shape, inputs.dtype)
        return Sequences(inputs, xs[1:])

    size = jax.eval_shape(draw, jax.random.key(0)).xs.shape[-1]
    whole = spans.context + spans.horizon
    check_test_set(jax.eval_shape(lambda: series(jax.random.key(0), test_size, whole)))
    task = build(
        name,
        cell,
        draw,
        regression(),
        outputs=size,
        tests={},
        metric=metric,
        recipe=recipe,
        baselines=baselines,
        clip_in_loop=clip_in_loop,
    )
    forecast = _forecast(cell, size)

    @partial(jax.jit, static_argnums=1)
    def tested(params: Params, horizon: int) -> tuple[Array, Array]:
        xs = series(jax.random.key(TEST_SEED), test_size, spans.context + horizon)
        return forecast(params, xs[: spans.context], horizon), xs[spans.context :]

    def evaluate(params: Params) -> dict[str, float]:
        scores = jax.jit(score)(*tested(params, spans.horizon))
        return {name: float(value) for name, value in scores.items()}

    def first_series(params: Params, *, steps: int = spans.horizon) -> Array:
        """The forecast of the first test series, `[steps, D]`."""
        return tested(params, steps)[0][:, 0]

    return task._replace(evaluate=evaluate, infer={"forecast": first_series})


def _forecast(cell: Cell, size: int) -> Callable[[Params, Array, int], Array]:
    """(params, context [C, B, D], steps) -> closed-loop forecast [steps, B, D]."""
    model = many_to_many(cell, nn.Dense(size, param_dtype=jnp.result_type(float)))

    step = model.step
    if step is None:
        raise TypeError("a forecast runs step by step: pass a Cell, not a Layer")

    def forecast(params: Params, context: Array, steps: int) -> Array:
        carry, _ = model.apply(params, context[:-1])
        return closed_loop(partial(step, params), carry, context[-1], steps)[1]

    return forecast


def check_spans(length: int, context: int, horizon: int) -> Spans:
    """Validate the three lengths and return them as `Spans`."""
    for name, value, least in (
        ("length", length, 1),
        ("context", context, 2),
        ("horizon", horizon, 1),
    ):
        check_at_least(name, value, least)
    return Spans(length, context, horizon)
