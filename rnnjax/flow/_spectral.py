"""Spectral norm, radius and eigenvalues of recurrent weights, gate by gate."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from rnnjax._types import Cell, Params
from rnnjax.flow._activity import parts

_SMALL = 64  # units up to which eigenvalues are kept without being asked for
_KEEPING = ("fixed_dt", "recurrent_dropout", "zoneout")  # combinators that leave weights alone


def spectra(cell: Cell, params: Params, eigenvalues: bool | None) -> dict[str, Any]:
    """`spectral_norm` σ_max and `spectral_radius` max |λ| of each block of W_h, on the host.

    And its `eigenvalues`, pairs [Re λ, Im λ], the largest first; None: of up to 64 units. Empty
    for params without W_h [H, k H], or u [H], through which each unit reads itself, and for cells
    that may have changed it before it recurs. Eigenvalues are of square blocks alone. NaN for
    weights that are not finite.
    """
    weights = _recurrent(_as_they_recur(cell, params))[1]
    if np.ndim(weights) not in (1, 2):
        return {}
    matrix: Any = np.asarray(jax.device_get(weights), np.float64)
    kept = len(matrix) <= _SMALL if eigenvalues is None else eigenvalues
    if matrix.ndim == 1:
        return _of_block("", float(np.abs(matrix).max()), matrix, kept)
    names = [part.name for part in parts(cell)]
    if len(names) < 2:
        count = max(1, matrix.shape[1] // matrix.shape[0])
        names = [""] if count == 1 else [str(k + 1) for k in range(count)]
    if matrix.shape[1] % len(names):
        return {}
    found: dict[str, Any] = {}
    for name, block in zip(names, np.split(matrix, len(names), axis=1), strict=True):
        finite = bool(np.isfinite(block).all())
        norm = float(np.linalg.norm(block, 2)) if finite else np.nan
        square: Any = None
        if block.shape[0] == block.shape[1]:
            square = np.linalg.eigvals(block) if finite else np.full(len(block), np.nan)
        found |= _of_block(f"_{name}" if name else "", norm, square, kept)
    return found


def why_no_spectra(cell: Cell, params: Params) -> str:
    """What is missing of a cell that has none."""
    name, weights = _recurrent(params)
    if np.ndim(weights) not in (1, 2) or _as_they_recur(cell, params) is not None:
        return "its params have no matrix w_h [H, k H]"
    return (
        f"{cell} may change {name} before the state is multiplied by it: a step that does not says "
        "so by a form in its Structure, a name of what it computes"
    )


def _recurrent(params: Params) -> tuple[str, Any]:
    """The name of the recurrent weights among these params, and the weights, or None."""
    fields: Any = params if isinstance(params, Mapping) else getattr(params, "_asdict", dict)()
    name = "w_h" if "w_h" in fields else "u"
    return name, fields.get(name)


def _as_they_recur(cell: Cell, params: Params) -> Params | None:
    """The params of the textbook step inside the cell; None if it is not known to have one."""
    structure = cell.structure
    if structure.made_for is not None and structure.made_for[0] != cell.step:
        return None
    name, weights = _recurrent(params)
    is_product = np.ndim(weights) == 2 and name in (structure.mixing or ())
    if structure.form is not None or is_product:
        return params
    if structure.around is not None:
        return _as_they_recur(structure.around.cell, structure.around.own(params))
    if structure.inside is not None:
        return _as_they_recur(structure.inside, params.cell)
    if structure.call is not None and structure.call.name in _KEEPING:
        return _as_they_recur(structure.call.positional[0], params)
    return None


def _of_block(of: str, norm: float, eigenvalues: Any, kept: bool) -> dict[str, Any]:
    found: dict[str, Any] = {f"spectral_norm{of}": norm}
    if eigenvalues is None:
        return found
    sizes = np.abs(eigenvalues)
    found[f"spectral_radius{of}"] = float(sizes.max())
    if kept:
        ordered = eigenvalues[np.lexsort((-eigenvalues.imag, -eigenvalues.real, -sizes))]
        found[f"eigenvalues{of}"] = [[float(each.real), float(each.imag)] for each in ordered]
    return found
