"""Spectral norm, radius and eigenvalues of recurrent weights, gate by gate."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from rnnjax._types import Cell, Params
from rnnjax.flow._activity import parts

_SMALL = 64  # units up to which eigenvalues are kept without being asked for


def spectra(cell: Cell, params: Params, eigenvalues: bool | None) -> dict[str, Any]:
    """`spectral_norm` σ_max and `spectral_radius` max |λ| of each block of W_h, on the host.

    And its `eigenvalues`, pairs [Re λ, Im λ], the largest first; None: of up to 64 units. Empty
    for params without W_h [H, k H], or u [H], through which each unit reads itself. Eigenvalues
    are of square blocks alone. NaN for weights that are not finite.
    """
    fields: Any = params if isinstance(params, Mapping) else getattr(params, "_asdict", dict)()
    weights = fields.get("w_h", fields.get("u"))
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
