"""What was read once, kept in memory as long as there is room."""

from collections.abc import Callable

import numpy as np

_KEPT = 256 << 20  # bytes


def kept(function: Callable[[int], np.ndarray], limit: int = _KEPT) -> Callable[[int], np.ndarray]:
    """`function`, with its results kept in memory until they take up `limit` bytes."""
    found: dict[int, np.ndarray] = {}
    room = [limit]

    def remembered(k: int) -> np.ndarray:
        k = int(k)
        if k in found:
            return found[k]
        value = function(k)
        if value.nbytes <= room[0]:
            room[0] -= value.nbytes
            found[k] = value
        return value

    return remembered
