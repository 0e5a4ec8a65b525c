"""`relu_fixed_points`: all fixed points and cycles of a small ReLU net, by its linear regions."""

from itertools import islice, product

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._arguments import check_positive_int
from rnnjax._checks import check_array, check_cell, check_real, known_values
from rnnjax._params import check_params
from rnnjax._types import Array, Cell, known
from rnnjax.cells import VanillaCarry, VanillaParams
from rnnjax.flow._fixed_points import FixedPoints, sorted_eigenvalues

_MOST = 20  # bits: a million regions take about a minute
_AT_ONCE = 1 << 13


def relu_fixed_points(
    cell: Cell, params: VanillaParams, x: Array, *, period: int = 1
) -> FixedPoints:
    """All fixed points, or cycles of `period` steps, of a small ReLU net under a constant input.

        h_{t+1} = D (h_t W_h + c),   c = x W_x + b,   D = diag(1 where a unit is active, else 0)

    Between the hyperplanes at which a unit becomes active the net is affine, so that each sequence
    of activity patterns D_1 … D_period has one candidate, h (I - W_h D_1 W_h D_2 …) = …, which is a
    cycle if its units are active as supposed. All 2^(H · period) sequences are tried, so none is
    missed: the complete answer that a search from samples cannot give.

    Args:
      cell: `vanilla(H, "relu")` or `irnn(H)`.
      params: its weights.
      x: the input `[D]`.
      period: 1 for fixed points; k for states that return after k steps, or after a divisor of k.
        H · period is at most 20.

    Returns:
      `FixedPoints` as `fixed_points` gives them, all "fixed", each found once.

    Raises:
      TypeError: what is no cell or array.
      ValueError: another cell, H · period above 20, or a net with a continuum of fixed points, such
        as a line attractor, where no list of points is complete.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.vanilla(2, "relu")  # two units that inhibit each other
      >>> w_h = jnp.array([[0.0, -2.0], [-2.0, 0.0]])
      >>> params = rnnjax.cells.VanillaParams(jnp.zeros((1, 2)), w_h, jnp.ones(2))
      >>> found = rnnjax.flow.relu_fixed_points(cell, params, jnp.zeros(1))
      >>> found.states.h.round(3).tolist(), found.stable.tolist()
      ([[0.0, 1.0], [0.333, 0.333], [1.0, 0.0]], [True, False, True])

    References:
      Eisenmann, Monfared, Göring & Durstewitz (2023), Bifurcations and loss jumps in RNN training,
      NeurIPS, whose SCYFI searches the same regions heuristically for larger nets.
    """
    if known(check_cell(cell)).form != ("vanilla", "relu"):
        raise ValueError(
            f"relu_fixed_points takes rnnjax.vanilla(H, 'relu') or rnnjax.irnn(H), got {cell}: "
            "for other cells search from samples with fixed_points"
        )
    params = check_params(cell, params)
    x = check_real("x", check_array("x", x, "[D]"))
    if x.shape != params.w_x.shape[:1]:
        raise ValueError(f"x must be one input [{params.w_x.shape[0]}], got shape {x.shape}")
    check_positive_int("period", period)
    w_x, w_h, b, constant = (
        known_values("relu_fixed_points", leaf).astype(np.float64) for leaf in (*params, x)
    )
    hidden, drive = len(b), constant @ w_x + b
    if hidden * period > _MOST:
        raise ValueError(
            f"H = {hidden} units and period = {period} make 2^{hidden * period} regions, and "
            f"2^{_MOST} are the most that are tried: use fixed_points"
        )
    states, jacobians = _all_regions(w_h, drive, period)
    chosen = _without_repeats(states)
    states, jacobians = states[chosen], jacobians[chosen]
    periods = np.array([_returns(h, w_h, drive, period) for h in states], int)
    count = len(states)
    with jax.enable_x64(True):
        after = jnp.asarray(states)
        for _ in range(period):
            after = jax.nn.relu(after @ w_h + drive[None])
    return FixedPoints(
        VanillaCarry(h=states),  # pyright: ignore[reportArgumentType]
        np.broadcast_to(constant, (count, len(constant))),
        np.full(count, "fixed"),
        np.abs(np.asarray(after) - states).max(axis=1, initial=0),
        periods,
        sorted_eigenvalues(jacobians),
        np.ones(count, int),
    )


def _all_regions(w_h: np.ndarray, drive: np.ndarray, period: int) -> tuple[np.ndarray, np.ndarray]:
    """States `[K, H]` that return after `period` steps, and their ∂F/∂h `[K, H, H]`."""
    hidden = len(drive)
    patterns = product((0.0, 1.0), repeat=hidden * period)
    states, jacobians = [np.zeros((0, hidden))], [np.zeros((0, hidden, hidden))]
    while block := list(islice(patterns, _AT_ONCE)):
        active = np.array(block).reshape(-1, period, hidden)
        slope, offset = np.eye(hidden)[None], np.zeros((1, hidden))
        for d in np.moveaxis(active, 1, 0):  # h -> (h W_h + c) D, row vectors
            slope, offset = (slope @ w_h) * d[:, None], (offset @ w_h + drive) * d
        h = _solved(np.eye(hidden) - slope, offset, active)
        now, agrees = h, np.ones(len(h), bool)
        for d in np.moveaxis(active, 1, 0):
            before = now @ w_h + drive
            near = 1e-9 * (1 + np.abs(before))
            agrees &= np.where(d > 0, before >= -near, before <= near).all(axis=1)
            now = before * d
        states.append(h[agrees])
        jacobians.append(np.swapaxes(slope[agrees], 1, 2))
    return np.concatenate(states), np.concatenate(jacobians)


def _solved(matrices: np.ndarray, offsets: np.ndarray, active: np.ndarray) -> np.ndarray:
    """h of h A = c for each region; NaN where there is none."""
    singular = np.linalg.cond(matrices) > 1e12
    h = np.full_like(offsets, np.nan)
    regular = ~singular
    h[regular] = np.linalg.solve(np.swapaxes(matrices[regular], 1, 2), offsets[regular, :, None])[
        ..., 0
    ]
    for k in np.flatnonzero(singular):
        some = np.linalg.lstsq(matrices[k].T, offsets[k], rcond=1e-12)[0]
        if np.abs(some @ matrices[k] - offsets[k]).max() <= 1e-9 * (1 + np.abs(offsets[k]).max()):
            units = [np.flatnonzero(step).tolist() for step in active[k]]
            raise ValueError(
                f"where the units {units} are active (one list a step) the net is the identity in "
                "some direction: it may have a continuum of fixed points, such as a line "
                "attractor, which no list holds. fixed_points finds samples of it"
            )
    return h


def _without_repeats(states: np.ndarray) -> list[int]:
    """The first of equal states, in lexicographic order: on a border two regions have it."""
    chosen: list[int] = []
    for k in np.lexsort(states.T[::-1]):
        if not chosen or (np.abs(states[chosen] - states[k]).max(axis=1) > 1e-9).all():
            chosen.append(int(k))
    return chosen


def _returns(h: np.ndarray, w_h: np.ndarray, drive: np.ndarray, period: int) -> int:
    now = h
    for k in range(1, period + 1):
        now = np.maximum(now @ w_h + drive, 0)
        if period % k == 0 and np.abs(now - h).max() <= 1e-8 * (1 + np.abs(h).max()):
            return k
    return period
