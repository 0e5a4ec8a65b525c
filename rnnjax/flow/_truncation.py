"""`truncation_length`: how short truncated BPTT may be for a given relative bias."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import (
    check_callable,
    check_cost,
    check_positive_int,
    described,
    known_values,
)
from rnnjax._execution import Gradient
from rnnjax._leaves import inexact
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.flow._cell import check_some, validate_masked
from rnnjax.flow._fit import half_life
from rnnjax.flow._float64 import in_float64
from rnnjax.flow._lags import Errors, Way, at_ends, by_lag, forward, norms_by_lag, steps_behind
from rnnjax.gradients import truncated_window


class Truncation(NamedTuple):
    """The length of a truncation, and what it was chosen by; made by `truncation_length`.

    `print` it for a sentence.
    """

    length: int | None  # steps that every cost reaches back; None: no length keeps the bias
    bound: float  # on the relative bias at that length; if it is None, at the longest below T
    bias: float  # the relative bias that was asked for
    decay: float  # β, by which the gradient shrinks with each lag; 1 or more: it does not
    bounds: np.ndarray  # [lags] bounds on the relative bias of the lengths 1 … lags; 0 at T
    norms: np.ndarray  # [lags] ‖a_k‖, the part of the gradient that lies k = 0 … lags - 1 back

    @property
    def gradient(self) -> Gradient | None:
        """For `unroll(gradient=...)`; None, the full gradient, where no length will do."""
        return None if self.length is None else truncated_window(self.length)

    def __str__(self) -> str:
        measured, pace = len(self.bounds), self._pace()
        if self.length is not None:
            where = f" on these T = {measured} steps" if self.decay >= 1 else ""
            return f"{self.length} steps: relative bias at most {self.bound:.2g}{where}; {pace}"
        if measured == 1:
            return "xs has T = 1 step: no truncation is shorter"
        which, where = f"to {measured} steps or fewer", "there"
        if self.bounds[-1] == 0:  # that of the full gradient
            which, where = f"shorter than T = {measured}", f"at T - 1 = {measured - 1}"
        return (
            f"no truncation {which} keeps the relative bias under {self.bias:.2g}: the bound "
            f"{where} is {self.bound:.2g}, and {pace}"
        )

    def _pace(self) -> str:
        """How the gradient decays, in words."""
        if self.decay == 0:
            reach = 1 + int(np.max(np.flatnonzero(self.norms), initial=-1))
            return f"no gradient comes from {reach} or more steps back"
        if self.decay < 1:
            return f"the gradient decays by a factor of {self.decay:.3g} a lag"
        if self.decay >= 1:
            return f"the gradient does not decay: it is {self.decay:.3g} times as large a lag on"
        return "too few lags have a gradient to say how it decays"


@in_float64
def truncation_length(
    cell: Cell,
    params: Params,
    xs: PyTree,
    cost: Callable[[Carry, PyTree], Array],
    *,
    bias: float = 0.1,
    lags: int | None = None,
    carry: Carry | None = None,
    key: Array | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    mask: Array | None = None,
) -> Truncation:
    """Adaptive truncation: the shortest truncated BPTT whose relative bias is under a bound.

        g = Σ_k a_k           a_k = Σ_t ∂C_t/∂carry_{t-k} ∂carry_{t-k}/∂W, what lies k steps back
        ‖a_k‖ ≤ A β^k         from half of the measured lags on
        ‖g_k - g‖ / ‖g‖ ≤ (‖Σ_{j=k}^{K-1} a_j‖ + tail) / (‖Σ_{j<K} a_j‖ - tail)
        tail = A β^K / (1 - β)

    The gradient is measured lag by lag up to K lags. What lies further back is bounded by a
    geometric decay: β by a least-squares fit, as in `half_life`, to those errors ∂C_t that have all
    K steps behind them, so that the beginning of the sequence is no decay; and A so that no
    measured norm from lag K/2 on is above the line. The bounds hold if the decay goes on as
    measured, which is the paper's assumption. Where the gradient does not decay there is no bound,
    and no length. With K = T nothing lies further back, and the bounds are the exact biases on this
    sequence: a length near T is that of the sequence, and grows with it.

    Unlike the paper, which follows ‖∂C_t/∂carry_{t-k}‖ and takes ‖∂carry/∂W‖ for constant, this
    measures the gradient of the weights themselves, and its cancellations between steps. To train
    with it, measure now and then on a batch, and pass `.gradient` to `unroll`.

    Takes the time of about 2 K backward passes, 3 K where not all errors have K steps behind them,
    and the memory of one: 87 and 126 times that of a step of BPTT were measured for K = 50.

    Args:
      cell: any `Cell`.
      params: its weights W.
      xs: inputs `[T, ..., D]`.
      cost: `(carry, ys) -> scalar`, of the last carry and the outputs. Its part in the last carry
        counts as a cost of each sequence's own last step.
      bias: the largest relative bias ‖g_k - g‖ / ‖g‖, above 0 and below 1.
      lags: how many lags to measure, K; T if None.
      carry, key, lengths, resets, mask: as for `rnnjax.unroll`. Skipped steps are no lags.

    Returns:
      A `Truncation(length, bound, bias, decay, bounds, norms)`: `length` is k for
      `rnnjax.truncated_window(k)`, less than T, or None. The decay is NaN where too few lags have a
      gradient for a fit, as with T = 1.

    Raises:
      TypeError, ValueError: as `rnnjax.unroll`; a cost that is not a scalar, a bias outside (0, 1),
        lags outside 2..T, no steps or examples, or a gradient that is zero or not finite.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.vanilla(8)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> xs = jax.random.normal(jax.random.key(1), (60, 4, 2))
      >>> found = rnnjax.flow.truncation_length(
      ...     cell, params, xs, lambda carry, ys: (ys**2).sum(), bias=0.05, lags=30
      ... )
      >>> found.length < 30, found.bound <= 0.05, found.decay < 1
      (True, True, True)

    References:
      Aicher, Foti & Fox (2019), Adaptively truncating backpropagation through time to control
      gradient bias, UAI.
    """
    given = carry, key, lengths, resets
    sequence, steps, batch_shape, in_time = validate_masked(cell, params, xs, mask, *given)
    check_some(steps, batch_shape)
    check_callable("cost", cost, "(carry, ys) -> scalar")
    if not isinstance(bias, int | float) or isinstance(bias, bool):
        raise TypeError(f"bias must be a number between 0 and 1, got {described(bias)}")
    if not 0 < bias < 1:
        raise ValueError(f"bias must lie between 0 and 1, got {bias}")
    lags = steps if lags is None else check_positive_int("lags", lags)
    if not min(2, steps) <= lags <= steps:
        raise ValueError(f"lags must lie in {min(2, steps)}..{steps} (T of xs), got {lags}")
    last, ys, before = forward(cell, params, sequence)
    cost = cost if in_time is None else in_time.cost(cost)
    value, back = jax.vjp(lambda last, ys: check_cost(cost(last, ys)), last, ys)
    last_ct, ys_ct = map(inexact, back(jnp.ones_like(value)))
    way = Way(params, sequence, key, before)
    errors = Errors(at_ends(last_ct, sequence, before), ys_ct)
    behind = steps_behind(len(batch_shape), way, errors)
    reach = 1 + int(known_values("truncation_length", behind).max())
    shape = (lags, batch_shape, carry is not None)
    measured = by_lag(cell, shape, way, errors)
    norms, rests = (known_values("truncation_length", x).astype(np.float64) for x in measured)
    if not np.isfinite(rests).all() or not rests[0] > 0:
        raise ValueError(
            f"the gradient of the cost with respect to params has norm {rests[0]}: there is no "
            "relative bias of it"
        )
    whole = behind >= min(lags, reach) - 1
    if bool(jnp.all(whole == (behind >= 0))):
        steady = norms
    else:
        steady = np.asarray(norms_by_lag(cell, shape, way, errors, whole), np.float64)
    decay, tail = _decay(norms, steady[:reach], reach)
    size = rests[0] - tail
    bounds = (rests[1:] + tail) / size if size > 0 else np.full(lags, np.inf)
    enough = np.flatnonzero(bounds[: steps - 1] <= bias)
    length = int(enough[0]) + 1 if enough.size else None
    at = length or max(min(lags, steps - 1), 1)
    return Truncation(length, float(bounds[at - 1]), bias, decay, bounds, norms)


def _decay(norms: np.ndarray, steady: np.ndarray, reach: int) -> tuple[float, float]:
    """β, and the most that the lags beyond the measured ones can add to the gradient.

    `steady` are the norms of the errors that have all of these lags behind them.
    """
    lags, first = len(norms), _half(norms)
    later = norms[first:]
    if np.count_nonzero(later) < 2 and later[-1] == 0:  # cut off
        return 0.0, 0.0
    fitted = steady[_half(steady) :]
    if np.count_nonzero(fitted) < 2:
        return (1.0, np.inf) if lags < reach else (np.nan, 0.0)
    rate = float(np.log(2) / half_life(jnp.asarray(fitted[::-1])))
    decay = float(np.exp(-rate))
    if lags >= reach:
        return decay, 0.0
    if not decay < 1:
        return decay, np.inf
    with np.errstate(divide="ignore"):
        height = np.max(np.log(later) + rate * np.arange(first, lags))
    return decay, float(np.exp(height - rate * lags) / -np.expm1(-rate))


def _half(norms: np.ndarray) -> int:
    return max(min(len(norms) // 2, len(norms) - 2), 0)
