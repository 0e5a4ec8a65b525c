"""Forecasting a time series."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import check_choice, check_positive_int, check_rate
from rnnjax._extras import optional
from rnnjax._types import Array, Carry, Params
from rnnjax.experiments.data.series import (
    Column,
    Series,
    extract_windows,
    forecast_errors,
    forecast_origins,
    linear_forecasts,
    mackey_glass,
    naive_forecasts,
    read_column,
    split_series,
)
from rnnjax.experiments.tasks._options import BatchSize, CellOption, Hidden, Layers, make_cell
from rnnjax.experiments.tasks._task import Batches, Metric, Recipe, Recurrence, Task
from rnnjax.experiments.tasks.forecasting._forecaster import Forecaster, direct, looped

_GENERATED = 6000  # values of the series that is made where there is no file
_AT_ONCE = 128  # windows that are forecast at once in evaluation


class Windows(NamedTuple):
    """A batch of stretches of the training part."""

    values: np.ndarray  # [window + horizon, B] standardised: what is read, then what follows


def series(
    *,
    csv: Annotated[Path | None, "Table to read (CSV, TSV, JSONL); a generated series without."] = (
        None
    ),
    column: Annotated[str | None, "Column to forecast; the last one with numbers without."] = None,
    horizon: Annotated[int, "Steps ahead to forecast."] = 24,
    window: Annotated[int, "Steps that the net reads before it forecasts."] = 96,
    season: Annotated[int | None, "Steps of a season: 24 in hourly data with days."] = None,
    mode: Annotated[str, "direct: all steps at once; closed_loop: one after the other."] = "direct",
    cell: CellOption = "lstm",
    hidden: Hidden = 64,
    layers: Layers = 1,
    dropout: Annotated[float, "Share of the net's outputs that training drops."] = 0.0,
    batch_size: BatchSize = 64,
    valid_fraction: Annotated[float, "Share of the series to validate on, before the test."] = 0.1,
    test_fraction: Annotated[float, "Share at the end of the series to test on."] = 0.2,
    missing: Annotated[str, "Empty cells: error, or previous for the value before."] = "error",
    encoding: Annotated[str, "Encoding of the file."] = "utf-8",
) -> Task:
    """Forecast the next values of a series from those before.

    The series is cut in time: the first 70 % to train on, 10 % to validate, 20 % to test. Its
    mean and deviation in the training part standardise it. The net reads `window` values and
    forecasts `horizon`, as what they differ from the naive forecast by:

        direct:       ŷ_{t+k} = naive_{t+k} + (W h_t + b)_k        k = 1 … horizon
        closed_loop:  ŷ_{t+1} = y_t + W h_t + b,  and then with ŷ for y

    where the naive forecast is the last value, or with a `season` the value one season before.
    Without a file the series is that of Mackey & Glass, 6,000 values.

    Metric: the mean absolute error over the test part's windows and all steps ahead, in the
    series' own unit; `rmse` and `mase` beside it, and `valid_mae` to choose settings by.
    Parts with more than 1,024 windows are judged on 1,024, evenly spaced. Baselines: the last
    value, the last season, and a linear autoregression on the same windows.

    `infer["forecast"](params, *, steps=horizon, history=None) -> [steps]` continues the series,
    or a history of your own, in the original unit. Beyond the horizon it goes on from its own
    forecasts.

    Args:
      csv: a file that ends in .csv, .tsv, .tab, .jsonl or .ndjson. One of 64 MiB or more is read
        once into a file of numbers in the user's cache folder.
      column: its column; by default the last one with a number in the first row.
      horizon: steps ahead, K.
      window: steps before, W.
      season: steps, at most window; None for none.
      mode: "direct" or "closed_loop"; the latter forecasts with the last value alone.
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units of every layer.
      layers: how many.
      dropout: rate, of what the head reads.
      batch_size: windows in a training batch.
      valid_fraction, test_fraction: shares of the series.
      missing: "error" refuses empty cells (also NA, NaN, null, none, ?); "previous" repeats
        the last value that was known.
      encoding: of the file.

    Returns:
      A `Task`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a bad file (with its line), a series too short, or options out of range.

    Example:
      >>> from rnnjax.experiments.tasks import series
      >>> task = series(horizon=5, window=20, hidden=8)
      >>> task.batches(0)[0].values.shape
      (25, 64)

    References:
      Ben Taieb, Bontempi, Atiya & Sorjamaa (2012), A review and comparison of strategies for
      multi-step ahead time series forecasting, Expert Systems with Applications 39.
      Mackey & Glass (1977), Oscillation and chaos in physiological control systems, Science 197.
    """
    _check(horizon, window, season, mode, dropout, batch_size)
    if csv is None:
        column_read = Column("x", mackey_glass(_GENERATED))
    else:
        column_read = read_column(csv, column, missing=missing, encoding=encoding)
    name = "the series" if csv is None else f"{csv}, column {column_read.name!r},"
    data = split_series(
        name,
        column_read.values,
        window=window,
        horizon=horizon,
        season=season,
        valid_fraction=valid_fraction,
        test_fraction=test_fraction,
    )
    net = make_cell(cell, hidden, layers)
    if mode == "direct":
        model = direct(net, window, horizon, season, dropout)
    else:
        model = looped(net, window, horizon, dropout)
    return _task(data, model, window, horizon, season, batch_size)


def _check(
    horizon: int, window: int, season: int | None, mode: str, dropout: float, batch_size: int
) -> None:
    check_choice("mode", mode, ("direct", "closed_loop"))
    for name, value in (("horizon", horizon), ("window", window), ("batch_size", batch_size)):
        check_positive_int(name, value)
    check_rate("dropout", dropout)
    if window < 2:
        raise ValueError(f"window must be at least 2, got {window}")
    if season is not None and check_positive_int("season", season) > window:
        raise ValueError(
            f"season must be at most window, got season = {season} and window = {window}: the net "
            "has to see the season that its forecast starts from"
        )


def _task(
    data: Series,
    model: Forecaster,
    window: int,
    horizon: int,
    season: int | None,
    batch_size: int,
) -> Task:
    def part(first: int, last: int) -> np.ndarray:
        return extract_windows(data, forecast_origins(first, last, horizon), window, horizon)

    test, valid = part(data.test, len(data.values)), part(data.valid, data.test)
    forecast = jax.jit(lambda params, history: _by_parts(model, params, history))

    def evaluate(params: Params) -> dict[str, float]:
        scores = forecast_errors(data, forecast(params, test[:window]), test[window:])
        found = forecast_errors(data, forecast(params, valid[:window]), valid[window:])
        return {**scores, "valid_mae": found["mae"]}

    def mae(forecasts: np.ndarray) -> float:
        return forecast_errors(data, forecasts, test[window:])["mae"]

    baselines = {"last value": mae(naive_forecasts(test, window, None))}
    if season is not None:
        baselines["last season"] = mae(naive_forecasts(test, window, season))
    baselines["linear"] = mae(linear_forecasts(data, test, window, horizon, season))

    def loss(params: Params, carry: Carry, batch: Windows, key: Array | None):
        del carry
        cost = model.cost(params, jnp.asarray(batch.values), key)
        return cost, (None, {})

    def recurrence(params: Params, batch: Windows) -> Recurrence:
        return model.recurrence(params, jnp.asarray(batch.values))

    return Task(
        name="series",
        init=model.init,
        loss=loss,
        batches=lambda seed: _batches(data, window, horizon, batch_size, seed),
        evaluate=evaluate,
        metric=Metric("mae", "min"),
        recipe=Recipe(steps=2000, learning_rate=3e-3, average=0.995),
        baselines=baselines,
        recurrence=recurrence,
        infer={"forecast": _forecast(data, jax.jit(model.forecast), window, horizon)},
    )


def _batches(data: Series, window: int, horizon: int, batch_size: int, seed: int) -> Batches:
    count = data.valid - window - horizon + 1
    dtype = jnp.result_type(float)

    def load(starts: np.ndarray) -> Windows:
        return Windows(extract_windows(data, starts + window, window, horizon).astype(dtype))

    order = optional("grain").MapDataset.range(count).shuffle(seed).repeat()
    return order.batch(batch_size).map(load)


def _by_parts(model: Forecaster, params: Params, histories: Array) -> Array:
    """Forecasts `[K, N]` from histories `[W, N]`, few at once."""
    found = jax.lax.map(
        lambda history: model.forecast(params, history[:, None])[:, 0],
        histories.T,
        batch_size=_AT_ONCE,
    )
    return found.T


def _numbers(history: Any, window: int) -> np.ndarray:
    try:
        return np.asarray(history, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"history must be at least window = {window} finite values [N], got something else "
            f"than numbers: {error}"
        ) from None


def _forecast(
    data: Series,
    forecast: Callable[[Params, Array], Array],
    window: int,
    horizon: int,
) -> Callable[..., np.ndarray]:
    def continued(
        params: Params, *, steps: int | None = None, history: Any | None = None
    ) -> np.ndarray:
        """The next `steps` values `[steps]` after a history `[N]`, or after the series."""
        steps = check_positive_int("steps", horizon if steps is None else steps)
        known = _numbers(data.values[-window:] if history is None else history, window)
        if known.ndim != 1 or len(known) < window or not np.isfinite(known).all():
            raise ValueError(
                f"history must be at least window = {window} finite values [N], got shape "
                f"{known.shape}"
            )
        known = data.standardise(known[-window:])
        for _ in range(-(-steps // horizon)):
            ahead = forecast(params, jnp.asarray(known[-window:, None]))
            known = np.concatenate([known, np.asarray(ahead)[:, 0]])
        return data.restore(known[window : window + steps])

    return continued
