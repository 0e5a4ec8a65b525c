"""`precision`: how many digits of the gradient are left at each lag in low precision."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._arrays import Static, put_arrays, take_arrays, with_hash
from rnnjax._checks import (
    arrays_of,
    check_callable,
    check_cell,
    check_cost,
    is_inexact,
    known_values,
)
from rnnjax._execution import Gradient, Method
from rnnjax._integers import of_own_width
from rnnjax._params import check_params
from rnnjax._random import is_key
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.flow._cell import check_some, in_dtype, validate_cell
from rnnjax.flow._float64 import explained
from rnnjax.gradients import autodiff
from rnnjax.methods import sequential
from rnnjax.unrolling import unroll

_LOST = 0.5  # relative error at which the first digit is wrong
_TF32 = "tensorfloat32"
_NOTE = (
    "flow.precision casts params, carry and xs, and here runs the net in {}: what is in another "
    "dtype was made by the cell or the cost from constants of their own. Make these in the dtype "
    "of x_t or of a weight, as in jnp.asarray(signs, params.w_h.dtype)"
)


class Precision(NamedTuple):
    """Errors of ∂C/∂x_t in several dtypes, by lag; made by `precision`."""

    lags: np.ndarray  # [T] T - t, from 0 on
    errors: dict[str, np.ndarray]  # dtype -> [T, ...] relative error of each example, by lag
    lost: dict[str, int | None]  # dtype -> the lag from which no digit is right; None: never

    def __str__(self) -> str:
        rows = [f"{'dtype':13} {'median error at lag 0':>22} {'at the longest':>15}  no digit from"]
        for name, errors in self.errors.items():
            ends = [float(np.median(errors[k])) for k in (0, -1)]
            last = "-" if self.lost[name] is None else f"lag {self.lost[name]}"
            rows.append(f"{name:13} {ends[0]:22.1e} {ends[1]:15.1e}  {last}")
        return "\n".join(rows)


def precision(
    cell: Cell,
    params: Params,
    xs: PyTree,
    cost: Callable[[Carry, PyTree], Array],
    *,
    dtypes: Sequence[Any] = ("bfloat16", "float16", "float32"),
    carry: Carry | None = None,
    gradient: Gradient | None = None,
    method: Method | None = None,
) -> Precision:
    """How precise the gradient is, by lag, in each dtype, against float64.

        error_lag = ‖g - g₆₄‖ / ‖g₆₄‖,   g = ∂C/∂x_t,   lag = T - t

    Params and inputs are rounded to the dtype and the whole run takes place in it, as in training;
    the reference is differentiated in float64, step by step, from the params and inputs as given.
    An error of 1e-3 means three correct digits, and from 0.5 on none: what such a gradient says of
    inputs so far back is noise. That is sooner than the gradient itself vanishes or underflows,
    since rounding errors of later steps travel back with it.

    "tensorfloat32" is float32 whose products of matrices read their factors with 10 bits of
    mantissa, as JAX computes float32 on an NVIDIA GPU unless `jax.default_matmul_precision` says
    otherwise. All other dtypes are computed here without it, as the reference is.

    Args:
      cell: the `Cell`; without a `dtype` of its own, and without randomness: from the same key JAX
        draws other numbers in each dtype, which are no rounding errors.
      params: its weights.
      xs: inputs `[T, ..., D]`, real or complex, of sequences without padding and episodes: lags are
        counted from T.
      cost: `cost(carry, ys) -> C`, as for `record`; compiled once for as long as the names in it
        mean the same values, and at every call where it reads what may be changed in place, such as
        an attribute of an object or an entry of a dict.
      dtypes: real dtypes to run in, by name or as such, and "tensorfloat32"; complex leaves are
        rounded to the complex dtype of the same precision, at least complex64.
      carry: the state before the first step, as for `unroll`, rounded as params are.
      gradient, method: as for `unroll`, of the runs in low precision.

    Returns:
      `Precision(lags, errors, lost)`. An example whose exact gradient is zero at a lag has the
      error 0 there if the gradient is zero too, and inf otherwise. `lost` is the first lag from
      which the median error over examples stays at 0.5 or above.

    Raises:
      TypeError: inputs without derivatives, dtypes that are not floating point, and as `unroll`.
      ValueError: PRNG keys in the carry, no steps or examples, "tensorfloat32" without an NVIDIA
        GPU, and as `unroll`.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.vanilla(4)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> xs = jax.random.normal(jax.random.key(1), (30, 8, 2))
      >>> found = rnnjax.flow.precision(cell, params, xs, lambda carry, ys: (ys[-1] ** 2).sum())
      >>> bool(found.errors["bfloat16"][0].mean() > 1e3 * found.errors["float32"][0].mean())
      True

    References:
      Micikevicius et al. (2018), Mixed precision training, ICLR.
      Higham (2002), Accuracy and stability of numerical algorithms, SIAM.
    """
    params = check_params(check_cell(cell), params)
    cell = of_own_width(cell, params, jax.config.read("jax_enable_x64"))
    check_callable("cost", cost, "(carry, ys) -> scalar")
    xs = arrays_of(xs)
    sequence, steps, batch_shape = validate_cell(cell, params, xs, carry)
    check_some(steps, batch_shape)
    _check_no_keys(sequence.carry)
    if not all(map(is_inexact, jax.tree.leaves(xs))):
        raise TypeError(
            "xs has leaves that are not real or complex: ∂C/∂x_t exists for floating-point inputs "
            "alone. For token ids, pass their embeddings"
        )
    if isinstance(dtypes, str) or not isinstance(dtypes, Iterable):
        raise TypeError(f"dtypes must be a list such as ['bfloat16'], got {dtypes!r}")
    names = [_name(dtype) for dtype in dtypes]
    if not names:
        raise ValueError("dtypes is empty: give those to compare with float64")

    def by_inputs(dtype: str, gradient: Gradient | None, method: Method | None) -> np.ndarray:
        static, arrays = take_arrays((with_hash(cost), gradient))
        with explained(dtype, _NOTE.format(dtype)):
            found = _by_inputs(cell, static, method, dtype, arrays, params, carry, xs)
        shape = (steps, *batch_shape, -1)
        known = [known_values("precision", g) for g in jax.tree.leaves(found)]
        flat = [g.astype(np.complex128).reshape(shape) for g in known]
        return np.concatenate(flat, axis=-1)[::-1]

    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        exact = by_inputs("float64", autodiff(), sequential())
    size = np.linalg.norm(exact, axis=-1)
    errors = {}
    for name in names:
        wide = name == "float64" or jnp.result_type(float) == jnp.float64
        dtype, products = ("float32", name) if name == _TF32 else (name, "highest")
        with jax.enable_x64(wide), jax.default_matmul_precision(products):
            difference = np.linalg.norm(by_inputs(dtype, gradient, method) - exact, axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            errors[name] = np.where(difference == 0, 0.0, difference / size)
    lost = {name: _lost(table.reshape(steps, -1)) for name, table in errors.items()}
    return Precision(np.arange(steps), errors, lost)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _by_inputs(
    cell: Cell,
    static: Static,
    method: Method | None,
    dtype: str,
    arrays: tuple[Array | None, ...],
    params: Params,
    carry: Carry | None,
    xs: PyTree,
) -> PyTree:
    """∂C/∂x_t at every step, of a run that takes place in `dtype`."""
    cost, gradient = put_arrays(static, arrays)

    def value(xs: PyTree) -> Array:
        weights, first = in_dtype((params, carry), dtype)
        run = unroll(cell, weights, xs, carry=first, gradient=gradient, method=method)
        return check_cost(cost(*run))

    return jax.grad(value)(in_dtype(xs, dtype))


def _check_no_keys(carry: Carry) -> None:
    """Raise ValueError for a carry with PRNG keys: each dtype draws other numbers."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(carry)[0]:
        if is_key(leaf):
            raise ValueError(
                f"the cell draws from PRNG keys in its carry, carry{jax.tree_util.keystr(path)}: "
                "JAX draws other numbers in each dtype, and the errors would be those of the "
                "draws, not of rounding. Measure a cell that draws nothing"
            )


def _name(dtype: Any) -> str:
    if isinstance(dtype, str) and dtype == _TF32:
        if jax.default_backend() != "gpu":
            raise ValueError(
                f"dtypes has {_TF32!r}, in which NVIDIA GPUs multiply, and JAX runs on a "
                f"{jax.default_backend()}: leave it out here"
            )
        return _TF32
    try:
        found = jnp.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtypes must be dtypes such as 'bfloat16', got {dtype!r}") from None
    if not jnp.issubdtype(found, jnp.floating):
        raise TypeError(f"dtypes must be real floating-point dtypes, got {dtype!r}")
    return found.name


def _lost(errors: np.ndarray) -> int | None:
    """The first lag from which on the median of `errors [T, examples]` is never below 0.5."""
    medians = np.median(errors, axis=1) if errors.size else np.zeros(0)
    first = 1 + max(np.flatnonzero(medians < _LOST), default=-1)
    return int(first) if first < len(medians) else None
