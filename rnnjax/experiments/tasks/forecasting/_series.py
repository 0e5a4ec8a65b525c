"""The forecasting task: the next values of any time series."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import check_choice, check_positive_int, check_rate
from rnnjax._extras import optional
from rnnjax._names import option
from rnnjax._types import Array, Carry, Params
from rnnjax.experiments._effects import check_no_effect
from rnnjax.experiments._fields import with_checked_options
from rnnjax.experiments.data import digest_arrays
from rnnjax.experiments.data.series import (
    Column,
    Series,
    extract_windows,
    forecast_errors,
    forecast_origins,
    format_values,
    linear_forecasts,
    mackey_glass,
    naive_forecasts,
    read_column,
    split_series,
)
from rnnjax.experiments.tasks._options import BatchSize, CellOption, Hidden, Layers, make_cell
from rnnjax.experiments.tasks._recipes import SERIES
from rnnjax.experiments.tasks._task import (
    Batches,
    Metric,
    Recurrence,
    Task,
)
from rnnjax.experiments.tasks.forecasting._forecaster import Forecaster
from rnnjax.experiments.tasks.forecasting._restore import inference, make_forecaster

_GENERATED = 6000  # values of the default series
_AT_ONCE = 128  # windows that are forecast at once in evaluation


class Windows(NamedTuple):
    """A batch of windows of the training part."""

    values: np.ndarray  # [window + horizon, B] standardised: context, then targets


@with_checked_options
def series(
    *,
    csv: Annotated[
        Path | None, "Table to read (CSV, TSV, JSONL); by default a synthetic series."
    ] = (None),
    column: Annotated[
        str | None,
        "Column to forecast: its name, or with --no-header its number, counted from 0; by default "
        "the last numeric one.",
    ] = None,
    horizon: Annotated[int, "Steps ahead to forecast."] = 24,
    window: Annotated[int, "Steps of context before a forecast."] = 96,
    season: Annotated[int | None, "Steps of a season, such as 24 for hourly data."] = None,
    mode: Annotated[str, "direct: all steps at once; closed_loop: one after another."] = "direct",
    cell: CellOption = "lstm",
    hidden: Hidden = 64,
    layers: Layers = 1,
    dropout: Annotated[float, "Dropout rate of the input of the head."] = 0.0,
    batch_size: BatchSize = 64,
    valid_fraction: Annotated[
        float, "Share of the series for validation, before the test part."
    ] = 0.1,
    test_fraction: Annotated[float, "Share at the end of the series for testing."] = 0.2,
    header: Annotated[
        bool,
        "Whether the first line of the table names the columns; if not, they are called 0, 1, 2 …",
    ] = True,
    decimal: Annotated[str, "Decimal mark of the numbers."] = ".",
    thousands: Annotated[str | None, "What separates groups of three digits."] = None,
    percent: Annotated[bool, "Whether every number ends in %; 12.5 % is 12.5."] = False,
    missing: Annotated[str, "Missing values: error, or previous for forward fill."] = "error",
    encoding: Annotated[str, "Encoding of the file."] = "utf-8",
    compression: Annotated[
        str, "Compression of the file: infer (from .gz, .bz2 or .xz), gzip, bz2, xz or none."
    ] = "infer",
) -> Task:
    """Forecast the next values of a time series.

    The split is chronological: the first 70 % for training, then 10 % for validation and 20 % for
    testing. Values are standardised by mean and standard deviation of the training part. The
    model reads `window` values and forecasts the next `horizon`, relative to the naive forecast:

        direct:       ŷ_{t+k} = naive_{t+k} + (W h_t + b)_k        k = 1 … horizon
        closed_loop:  ŷ_{t+1} = y_t + W h_t + b,  and then with ŷ for y

    where the naive forecast is the last value, or with a `season` the value one season before.
    The default series is 6,000 values of the Mackey-Glass equation.

    Metric: the mean absolute error over all windows of the test part and all steps ahead, in the
    original unit; also `rmse`, `mase`, and `valid_mae`, that of the validation part, by which the
    best checkpoint is chosen. Parts with more than 1,024 windows are evaluated on 1,024, evenly
    spaced. Baselines: the last value, the last season, and a linear autoregression on the same
    windows.

    `infer["forecast"](params, *, steps=horizon, history=None) -> [steps]` continues the series,
    or a history of your own, in the original unit. Beyond the horizon it continues from its own
    forecasts.

    Args:
      csv: a table. A name that ends in .tsv, .tab, .jsonl or .ndjson says what kind, any other is
        read as CSV. The column of a file of 64 MiB or more is cached in the user's cache folder.
      column: the column to forecast, without a header its number: "0" is the first. By default
        the last one with a number in the first row, and `Task.notes` says which that is, and why
        the others were passed over.
      horizon: K, steps to forecast.
      window: W, steps of context.
      season: steps of a season, at most window; None for none.
      mode: "direct" or "closed_loop"; the latter is relative to the last value, not the season.
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer.
      layers: number of stacked layers.
      dropout: rate, of the input of the head.
      batch_size: windows per training batch.
      valid_fraction, test_fraction: shares of the series.
      header, decimal, thousands, percent, missing, encoding, compression: how the file is read, as
        in `rnnjax.experiments.data.read_column`.

    Returns:
      A `Task`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a malformed file (with its line), a series too short, options out of range, or
        how a file is read without a file.

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
    reading = {
        "header": header,
        "decimal": decimal,
        "thousands": thousands,
        "percent": percent,
        "missing": missing,
        "encoding": encoding,
        "compression": compression,
    }
    if csv is None:
        check_no_effect(series, {"column": column, **reading}, f"without {option('csv')}")
        column_read = Column("x", mackey_glass(_GENERATED))
    else:
        column_read = read_column(csv, column, **reading)
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
    model = make_forecaster(make_cell(cell, hidden, layers), mode, window, horizon, season, dropout)
    facts = _facts(data, None if csv is None else column_read.name, window)
    task = _task(data, facts, model, window, horizon, season, batch_size)
    notes = (column_read.note, _note(name.rstrip(","), facts))
    return task._replace(notes=[note for note in notes if note])


def _check(
    horizon: int, window: int, season: int | None, mode: str, dropout: float, batch_size: int
) -> None:
    check_choice("mode", mode, ("direct", "closed_loop"))
    for name, value in (("horizon", horizon), ("window", window), ("batch_size", batch_size)):
        check_positive_int(name, value)
    check_rate("dropout", dropout)
    if window < 2:
        raise ValueError(f"{option('window')} must be at least 2, got {window}")
    if season is not None and check_positive_int("season", season) > window:
        raise ValueError(
            f"{option('season')} must be at most {option('window')}, got {season} and {window}: "
            "the window has to contain one season"
        )


def _facts(data: Series, column: str | None, window: int) -> dict[str, Any]:
    """`Task.data`: the split and the statistics of its training part, and the last values."""
    return {
        **({} if column is None else {"column": column}),
        "values": len(data.values),
        "smallest": float(np.min(data.values)),
        "largest": float(np.max(data.values)),
        "training": data.valid,
        "validation": data.test - data.valid,
        "test": len(data.values) - data.test,
        **{name: float(getattr(data, name)) for name in ("mean", "scale", "naive")},
        "last": np.asarray(data.values[-window:]).tolist(),
    }


def _without_zeros(number: str) -> str:
    """A decimal number without the zeros at its end."""
    return number.rstrip("0").rstrip(".") if "." in number and "e" not in number else number


def _note(name: str, facts: Mapping[str, Any]) -> str:
    low, high = map(
        _without_zeros, format_values([facts["smallest"], facts["largest"]], facts["scale"])
    )
    return (
        f"{name}: {facts['values']:,} values from {low} to {high}; {facts['training']:,} for "
        f"training, {facts['validation']:,} for validation, {facts['test']:,} for testing"
    )


def _task(
    data: Series,
    facts: dict[str, Any],
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
        select=Metric("valid_mae", "min"),
        recipe=SERIES,
        baselines=baselines,
        recurrence=recurrence,
        infer=inference(facts, model, window, horizon),
        data=facts,
        digest=lambda: digest_arrays(data.values),
    )


def _batches(data: Series, window: int, horizon: int, batch_size: int, seed: int) -> Batches:
    count = data.valid - window - horizon + 1
    dtype = jnp.result_type(float)

    def load(starts: np.ndarray) -> Windows:
        return Windows(extract_windows(data, starts + window, window, horizon).astype(dtype))

    order = optional("grain").MapDataset.range(count).shuffle(seed).repeat()
    return order.batch(batch_size).map(load)


def _by_parts(model: Forecaster, params: Params, histories: Array) -> Array:
    """Forecasts `[K, N]` from histories `[W, N]`, in chunks."""
    found = jax.lax.map(
        lambda history: model.forecast(params, history[:, None])[:, 0],
        histories.T,
        batch_size=_AT_ONCE,
    )
    return found.T
