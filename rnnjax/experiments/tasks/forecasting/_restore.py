"""A trained forecaster: made from the facts of its data, without the data."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import check_positive_int
from rnnjax._names import option
from rnnjax._types import Array, Cell, Params
from rnnjax.experiments.data.series import Series
from rnnjax.experiments.tasks._options import CellOption, make_cell
from rnnjax.experiments.tasks._task import Model
from rnnjax.experiments.tasks.forecasting._forecaster import Forecaster, direct, looped


def restore_series(
    facts: Mapping[str, Any],
    /,
    *,
    horizon: int,
    window: int,
    season: int | None,
    mode: str,
    cell: CellOption,
    hidden: int,
    layers: int,
    dropout: float,
    **_: Any,
) -> Model:
    """The model of `series(...)`, from `Task.data` and the same options."""
    model = make_forecaster(make_cell(cell, hidden, layers), mode, window, horizon, season, dropout)
    return Model(model.init, inference(facts, model, window, horizon))


def make_forecaster(
    cell: Cell, mode: str, window: int, horizon: int, season: int | None, dropout: float
) -> Forecaster:
    if mode == "direct":
        return direct(cell, window, horizon, season, dropout)
    return looped(cell, window, horizon, dropout)


def inference(
    facts: Mapping[str, Any], model: Forecaster, window: int, horizon: int
) -> dict[str, Callable[..., Any]]:
    statistics = {name: facts[name] for name in ("mean", "scale", "naive")}
    known = Series(np.array(facts["last"]), valid=0, test=0, **statistics)
    return {"forecast": _forecast(known, jax.jit(model.forecast), window, horizon)}


def _numbers(history: Any, window: int) -> np.ndarray:
    try:
        return np.asarray(history, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{option('history')} must be at least window = {window} finite values [N], got "
            f"something else than numbers: {error}"
        ) from None


def _standardised(data: Series, known: np.ndarray) -> np.ndarray:
    """A history as the model reads it, if its dtype can hold it."""
    dtype = jnp.result_type(float)
    with np.errstate(over="ignore"):
        found = data.standardise(known)
    if np.abs(found).max() > jnp.finfo(dtype).max:
        raise ValueError(
            f"{option('history')} has a value of {known[np.abs(found).argmax()]:g}, too far for "
            f"{dtype} from the values trained on: their mean is {data.mean:g}, their standard "
            f"deviation {data.scale:g}"
        )
    return found


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
                f"{option('history')} must be at least window = {window} finite values [N], got "
                f"shape {known.shape}"
            )
        known = _standardised(data, known[-window:])
        for _ in range(-(-steps // horizon)):
            ahead = forecast(params, jnp.asarray(known[-window:, None]))
            known = np.concatenate([known, np.asarray(ahead)[:, 0]])
        if not np.isfinite(known).all():
            raise FloatingPointError(
                "the forecast has NaN or Inf: the training or the history has gone too far"
            )
        return data.restore(known[window : window + steps])

    return continued
