"""Time series: direct and closed-loop forecasts of any column of numbers."""

from rnnjax.experiments.tasks.forecasting._series import Windows, restore_series, series

__all__ = ["Windows", "restore_series", "series"]
