"""Time series: forecasting any column of numbers, beside naive and linear forecasts."""

from rnnjax.experiments.tasks.forecasting._column import Column, read_column
from rnnjax.experiments.tasks.forecasting._mackey_glass import mackey_glass
from rnnjax.experiments.tasks.forecasting._series import Windows, series

__all__ = ["Column", "Windows", "mackey_glass", "read_column", "series"]
