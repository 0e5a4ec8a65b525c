"""`fixed_points`: states that a step leaves as they are, slow states, and cycles."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._arguments import check_number, check_positive_int
from rnnjax._checks import check_cell, known_values
from rnnjax._integers import of_own_width
from rnnjax._params import check_params
from rnnjax._random import is_key
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.flow._cell import in_dtype, validate_cell
from rnnjax.flow._float64 import explained
from rnnjax.flow._minimise import minimise, with_state
from rnnjax.flow._starts import check_starts, check_still, count_of, for_each
from rnnjax.running import leaf_indices

LABELS = ("fixed", "slow", "not converged")


class FixedPoints(NamedTuple):
    """K states in float64, those that most starts led to first; made by `fixed_points`."""

    states: Carry  # leaves [K, ...]
    inputs: PyTree  # [K, ...] the input that each belongs to
    labels: np.ndarray  # [K] "fixed", "slow" or "not converged"
    speeds: np.ndarray  # [K] max |F(s) - s|
    periods: np.ndarray  # [K] the number of steps after which the state returns
    eigenvalues: np.ndarray  # [K, S] complex, of ∂F/∂s, the largest magnitude first
    counts: np.ndarray  # [K] how many starts ended there

    @property
    def stable(self) -> np.ndarray:
        """`[K]`: a fixed point or cycle to which nearby states return, all |λ| < 1."""
        return (self.labels == "fixed") & (np.abs(self.eigenvalues) < 1).all(axis=1)


def fixed_points(
    cell: Cell,
    params: Params,
    x: PyTree,
    starts: Carry,
    *,
    period: int = 1,
    tolerance: float = 1e-9,
    same: float = 1e-5,
    max_steps: int = 300,
) -> FixedPoints:
    """Fixed points, slow points and cycles of a cell under a constant input, and their stability.

        q(s) = ½ ‖F(s, x) - s‖² → min        F: `period` steps of the cell, all with the input x

    From every start q is minimised by the Levenberg-Marquardt method with the exact Jacobian, in
    float64 whatever the dtype of params: small nets' starts at once, those of nets with 64 states
    and more one by one, at the price of a QR decomposition [2S, S] a move. s is the whole state: h
    and c of an LSTM. Where it ends tells three kinds apart:

    - "fixed": max |F(s) - s| ≤ tolerance · max(1, max |s|);
    - "slow": a minimum of q that is no zero, where the state drifts by its `speed` a step. Small
      steps Δt alone make none: what counts is how q changes beside its own value;
    - "not converged": neither after `max_steps`.

    States nearer to each other than `same` under the same input are one point. No search from
    samples proves that there are no others; for small ReLU nets `relu_fixed_points` does.

    What has no derivative is no part of s: integers, booleans and PRNG keys stay in each state as
    they were in its start. That says something of s only if F does not read them, or if the step
    keeps them, such as a mode that is held; other cells are refused.

    Args:
      cell: the `Cell`, without training-time randomness.
      params: its weights.
      x: one input `x_t [D]` for all starts, or `[N, D]`, one for each start; for a cell with time
        steps the pair (x, Δt). A point belongs to its input: under another there are other points.
      starts: N states, leaves `[N, ...]`, made without a key. States that the net visits are good
        starts: the carries of `unroll(..., return_carries=True)`, with time and batch as one axis.
        Of none (N = 0) nothing is found (K = 0).
      period: 1 for fixed points; k for cycles of k steps, found as fixed points of k steps. A
        point found with k that returns sooner has the smaller number in `periods`.
      tolerance, same: see above, in units of the state.
      max_steps: of the minimisation.

    Returns:
      `FixedPoints` in NumPy arrays; `stable` tells to which of them nearby states return.

    Raises:
      TypeError: as `rnnjax.unroll`; x that is no array.
      ValueError: as `rnnjax.unroll`; starts that are no N states of the cell, a single state
        without N among them; x that is neither one input nor N; a cell that draws at every step
        from PRNG keys in its state, or whose step changes integers that the state depends on.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.vanilla(1)  # h = tanh(2 h): 0, and two stable states
      >>> params = rnnjax.cells.VanillaParams(jnp.ones((1, 1)), jnp.full((1, 1), 2.0), jnp.zeros(1))
      >>> starts = cell.initial_carry(params, (3,))._replace(h=jnp.array([[-1.0], [0.1], [1.0]]))
      >>> found = rnnjax.flow.fixed_points(cell, params, jnp.zeros(1), starts)
      >>> (found.states.h[:, 0].round(4) + 0.0).tolist(), found.stable.tolist()
      ([-0.9575, 0.0, 0.9575], [True, False, True])

    References:
      Sussillo & Barak (2013), Opening the black box: low-dimensional dynamics in high-dimensional
      recurrent neural networks, Neural Computation 25.
      Golub & Sussillo (2018), FixedPointFinder, Journal of Open Source Software 3.
      Moré (1978), The Levenberg-Marquardt algorithm: implementation and theory, Lecture Notes in
      Mathematics 630.
    """
    check_positive_int("period", period)
    check_positive_int("max_steps", max_steps)
    for name, value in (("tolerance", tolerance), ("same", same)):
        if not check_number(name, value) > 0:
            raise ValueError(f"{name} must be positive, got {value!r}")
    params = check_params(check_cell(cell), params)
    cell = of_own_width(cell, params, jax.config.read("jax_enable_x64"))
    count = count_of(cell, params, starts)
    with jax.enable_x64(True), explained():
        wide = in_dtype((params, starts, for_each(cell, x, count)), jnp.float64)
        params, starts, x = jax.tree.map(jnp.asarray, wide)
        check_starts(cell, params, starts, count)
        check_still(cell, params, starts, x)
        xs = jax.tree.map(lambda leaf: leaf[None], x)
        sequence = validate_cell(cell, params, xs, starts)[0]
        indices = leaf_indices(sequence.carry, None)
        settings = cell, indices, period, max_steps, float(tolerance)
        ends = _ends(partial(minimise, *settings), params, sequence.carry, x)
        found: tuple[np.ndarray, ...] = tuple(known_values("fixed_points", x) for x in ends)
        carry = jax.tree.map(_numpy, with_state(sequence.carry, indices, ends[0]))
    states, speeds, flat, scale, jacobians, periods = found
    fixed = speeds <= tolerance * scale
    kinds = np.asarray(np.where(fixed, 0, np.where(flat, 1, 2)))
    flat = [np.reshape(leaf, (count, leaf[:1].size)) for leaf in jax.tree.leaves(x)]
    inputs = np.concatenate(flat, axis=1)
    chosen, counts = _distinct(states, inputs, kinds, speeds, float(same))
    return FixedPoints(
        jax.tree.map(lambda leaf: leaf[chosen], carry),
        jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], x),
        np.array(LABELS)[kinds[chosen]],
        speeds[chosen],
        periods[chosen],
        sorted_eigenvalues(jacobians[chosen]),
        counts,
    )


def sorted_eigenvalues(matrices: np.ndarray) -> np.ndarray:
    """`[K, S]` of `[K, S, S]`, the largest magnitude first; NaN where a matrix is not finite."""
    finite = np.isfinite(np.abs(matrices).sum(axis=(1, 2), keepdims=True))[:, 0, 0]
    values = np.linalg.eigvals(np.where(finite[:, None, None], matrices, 0)).astype(complex)
    values = np.take_along_axis(values, np.argsort(-np.abs(values), axis=1, kind="stable"), axis=1)
    return np.where(finite[:, None], values, np.nan)


def _ends(search: Callable[..., tuple[Array, ...]], *starts: PyTree) -> tuple[Array, ...]:
    """`search(*starts)`; of no starts what it would return, without compiling it."""
    if all(len(leaf) for leaf in jax.tree.leaves(starts[1])):
        return search(*starts)
    some = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), starts[1:]
    )
    shapes = jax.eval_shape(search, starts[0], *some)
    return tuple(jnp.zeros((0, *each.shape[1:]), each.dtype) for each in shapes)


def _numpy(leaf: Array) -> Any:
    """A leaf of the states; PRNG keys stay JAX's, since NumPy has none."""
    return leaf if is_key(leaf) else np.asarray(leaf)


def _distinct(
    states: np.ndarray, inputs: np.ndarray, kinds: np.ndarray, speeds: np.ndarray, same: float
) -> tuple[np.ndarray, np.ndarray]:
    """The slowest of each group of equal points `[K]`, in the order of results, and its size."""
    chosen: list[int] = []
    counts: list[int] = []
    for k in np.lexsort((speeds, kinds)):
        if chosen:
            near = np.abs(states[chosen] - states[k]).max(axis=1) <= same
            near &= (inputs[chosen] == inputs[k]).all(axis=1) & (kinds[chosen] == kinds[k])
            if near.any():
                counts[int(np.argmax(near))] += 1
                continue
        chosen.append(int(k))
        counts.append(1)
    places = np.array(chosen, int)
    order = np.lexsort((*states[places].T[::-1], -np.array(counts), kinds[places]))
    return places[order], np.array(counts, int)[order]
