"""Time series: direct and closed-loop forecasts of any column of numbers."""

from rnnjax.experiments.tasks.forecasting._restore import restore_series
from rnnjax.experiments.tasks.forecasting._series import Windows, series

__all__ = ["Windows", "restore_series", "series"]
