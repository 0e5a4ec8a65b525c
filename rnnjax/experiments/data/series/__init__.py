"""Time series: a column of a table, the Mackey-Glass equation, windows, and baseline forecasts."""

from rnnjax.experiments.data.series._baselines import (
    forecast_errors,
    linear_forecasts,
    naive_forecasts,
    naive_offsets,
)
from rnnjax.experiments.data.series._column import READING, Column, read_column
from rnnjax.experiments.data.series._mackey_glass import mackey_glass
from rnnjax.experiments.data.series._windows import (
    Series,
    extract_windows,
    forecast_origins,
    format_values,
    split_series,
)

__all__ = [
    "READING",
    "Column",
    "Series",
    "extract_windows",
    "forecast_errors",
    "forecast_origins",
    "format_values",
    "linear_forecasts",
    "mackey_glass",
    "naive_forecasts",
    "naive_offsets",
    "read_column",
    "split_series",
]
