"""Spectral norm and radius of recurrent weights, gate by gate."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from rnnjax._types import Cell, Params
from rnnjax.flow._activity import parts


def spectra(cell: Cell, params: Params) -> dict[str, float]:
    """`spectral_norm` σ_max and `spectral_radius` max |λ| of each block of W_h, on the host.

    Empty for params without W_h [H, k H], or u [H], through which each unit reads itself. The
    radius is of square blocks alone. NaN for weights that are not finite.
    """
    fields: Any = params if isinstance(params, Mapping) else getattr(params, "_asdict", dict)()
    weights = fields.get("w_h", fields.get("u"))
    if np.ndim(weights) not in (1, 2):
        return {}
    matrix: Any = np.asarray(jax.device_get(weights), np.float64)
    if matrix.ndim == 1:
        largest = float(np.abs(matrix).max())
        return {"spectral_norm": largest, "spectral_radius": largest}
    names = [part.name for part in parts(cell)]
    if len(names) < 2:
        count = max(1, matrix.shape[1] // matrix.shape[0])
        names = [""] if count == 1 else [str(k + 1) for k in range(count)]
    if matrix.shape[1] % len(names):
        return {}
    found: dict[str, float] = {}
    for name, block in zip(names, np.split(matrix, len(names), axis=1), strict=True):
        finite = bool(np.isfinite(block).all())
        of = f"_{name}" if name else ""
        found[f"spectral_norm{of}"] = float(np.linalg.norm(block, 2)) if finite else np.nan
        if block.shape[0] == block.shape[1]:
            radius = float(np.abs(np.linalg.eigvals(block)).max()) if finite else np.nan
            found[f"spectral_radius{of}"] = radius
    return found
