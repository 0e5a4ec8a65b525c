"""Direct and closed-loop forecasters: all steps at once, or one after another."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import flax.linen as nn
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.experiments.data.series import naive_offsets
from rnnjax.experiments.tasks._task import Recurrence
from rnnjax.scenarios import closed_loop, dropout, many_to_many, squared_error


class Forecaster(NamedTuple):
    init: Callable[[Array], Params]  # key -> params
    cost: Callable[[Params, Array, Array | None], Array]  # (params, values [W + K, B], key) -> C
    forecast: Callable[[Params, Array], Array]  # (params, history [W, B]) -> [K, B]
    recurrence: Callable[[Params, Array], Recurrence]  # (params, values [W + K, B])


def direct(cell: Cell, window: int, horizon: int, season: int | None, rate: float) -> Forecaster:
    """Direct forecaster: all steps at once, relative to the naive forecast.

        ŷ_{t+k} = naive_{t+k} + (W h_t + b)_k        k = 1 … K

    W starts at zero, so training starts from the naive forecast. The loss covers the forecasts
    from every step of the second half of a window; predictions use its last step.
    """
    model = many_to_many(cell, dropout(_head(horizon), rate))
    warm = max(window // 2, (season or 1) - 1)
    ahead = 1 + jnp.arange(horizon)

    def outputs_from(values: Array, ys: Array, first: int) -> Array:
        at = jnp.arange(first, window)[:, None]
        base = values[at + 1 + naive_offsets(horizon, season)[None]]  # [t, K, B]
        return base.transpose(0, 2, 1) + ys[first:]

    def error(values: Array, ys: Array) -> Array:
        at = jnp.arange(warm, window)[:, None]
        targets = values[at + ahead[None]].transpose(0, 2, 1)
        return squared_error(outputs_from(values, ys, warm), targets)

    def cost(params: Params, values: Array, key: Array | None) -> Array:
        return error(values, model.apply(params, values[:window, :, None], key=key)[1])

    def forecast(params: Params, history: Array) -> Array:
        _, ys = model.apply(params, history[..., None])
        return outputs_from(history, ys, window - 1)[0].T

    def recurrence(params: Params, values: Array) -> Recurrence:
        def summed(carry: Carry, ys: Array) -> Array:
            del carry
            head = jnp.asarray(_head(horizon).apply(params.head, ys))
            return error(values, head) * values.shape[1]

        return Recurrence(cell, params.layer, values[:window, :, None], summed)

    return Forecaster(_init(model), cost, forecast, recurrence)


def looped(cell: Cell, window: int, horizon: int, rate: float) -> Forecaster:
    """Closed-loop forecaster: each forecast is the next input.

        ŷ_{t+1} = y_t + W h_t + b,   then with ŷ in place of y

    The loss is the one-step error over the second half of a window, plus the closed-loop error over
    the horizon.
    """
    model = many_to_many(cell, dropout(_head(1), rate))
    warm = window // 2
    one = cast(Callable[..., tuple[Carry, Array]], model.step)  # not None for a cell

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        carry, change = one(params, carry, x)
        return carry, x + change

    def continued(params: Params, carry: Carry, last: Array) -> Array:
        return closed_loop(partial(step, params), carry, last[:, None], horizon)[1][..., 0]

    def next_error(values: Array, changes: Array) -> Array:
        xs = values[: window - 1]
        found = (xs + changes[..., 0])[warm:]
        return squared_error(found[..., None], values[1:window][warm:, :, None])

    def cost(params: Params, values: Array, key: Array | None) -> Array:
        xs = values[: window - 1, :, None]
        carry, changes = model.apply(params, xs, key=key)
        ahead = continued(params, carry, values[window - 1])
        free = squared_error(ahead[..., None], values[window:, :, None])
        return next_error(values, changes) + free

    def forecast(params: Params, history: Array) -> Array:
        carry, _ = model.apply(params, history[:-1, :, None])
        return continued(params, carry, history[-1])

    def recurrence(params: Params, values: Array) -> Recurrence:
        def summed(carry: Carry, ys: Array) -> Array:
            del carry
            changes = jnp.asarray(_head(1).apply(params.head, ys))
            return next_error(values, changes) * values.shape[1]

        return Recurrence(cell, params.layer, values[: window - 1, :, None], summed)

    return Forecaster(_init(model), cost, forecast, recurrence)


def _head(features: int) -> nn.Dense:
    zeros = nn.initializers.zeros_init()
    return nn.Dense(features, kernel_init=zeros, param_dtype=jnp.result_type(float))


def _init(model) -> Callable[[Array], Params]:
    return lambda key: model.init(key, jnp.zeros((1, 1, 1)))
