"""Errors of forecasts, and baseline forecasts: naive and linear."""

import numpy as np

from rnnjax._extras import optional
from rnnjax.experiments.data.series._windows import Series, extract_windows, forecast_origins

_FITTED = 4096  # windows to which the linear baseline is fitted


def forecast_errors(series: Series, forecasts: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """MAE and RMSE in the original unit, and MASE, of standardised forecasts.

        MAE = mean |ŷ - y|,   RMSE = √mean (ŷ - y)²,   MASE = MAE / mean_train |y_t - y_{t-m}|

    over all windows and all steps ahead; m is the season, or 1.

    References:
      Hyndman & Koehler (2006), Another look at measures of forecast accuracy, International
      Journal of Forecasting 22.
    """
    off = np.asarray(forecasts, np.float64) - np.asarray(targets, np.float64)
    mae = series.scale * float(np.mean(np.abs(off)))
    rmse = series.scale * float(np.sqrt(np.mean(off**2)))
    return {"mae": mae, "rmse": rmse, "mase": mae / series.naive}


def linear_forecasts(
    series: Series, test: np.ndarray, window: int, horizon: int, season: int | None
) -> np.ndarray:
    """Linear baseline: ridge regression of each step ahead on the values of the window.

        ŷ_{t+k} = naive_{t+k} + w_kᵀ (y_{t-W+1} … y_t) + b_k

    fitted to at most 4,096 windows of the training part, evenly spaced, with the ridge penalty
    chosen by leave-one-out cross-validation.

    Args:
      series: the data.
      test: windows `[window + horizon, B]`, whose last `horizon` values are forecast.
      window, horizon, season: as in `series`.

    Returns:
      Forecasts `[horizon, B]`, standardised.
    """
    starts = forecast_origins(window, series.valid, horizon)
    few = starts[np.unique(np.linspace(0, len(starts) - 1, _FITTED).astype(int))]
    train = extract_windows(series, few, window, horizon)
    model = optional("sklearn.linear_model").RidgeCV(alphas=np.logspace(-4, 3, 15))
    model.fit(train[:window].T, (train[window:] - naive_forecasts(train, window, season)).T)
    return naive_forecasts(test, window, season) + model.predict(test[:window].T).T.reshape(
        horizon, -1
    )


def naive_forecasts(test: np.ndarray, window: int, season: int | None) -> np.ndarray:
    """Naive baseline: the last value, or the value one season before, `[horizon, B]`.

    Args:
      test: windows `[window + horizon, B]`.
      window: steps before the forecast.
      season: steps of a season; None for the last value.
    """
    return test[window + naive_offsets(len(test) - window, season)]


def naive_offsets(steps: int, season: int | None) -> np.ndarray:
    """Indices of the naive forecast of each step, relative to the first step to forecast.

    ŷ_{t+k} = y_t,   or with a season of m steps   ŷ_{t+k} = y_{t+k-m⌈k/m⌉}
    """
    ahead = np.arange(steps)
    return np.full(steps, -1) if season is None else ahead % season - season
