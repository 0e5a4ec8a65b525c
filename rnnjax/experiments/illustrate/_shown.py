"""Which entries of an array a page shows, and how it prints a number."""

from typing import Any, NamedTuple

import numpy as np

_MOST = 4  # entries of an axis that are all shown; of a longer one the first two and the last
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Axis(NamedTuple):
    """What is shown of an axis of `blocks` blocks of equal size, such as one for each gate."""

    size: int  # of a block
    blocks: int = 1

    @property
    def of_block(self) -> list[int]:
        """Indices that are shown of every block."""
        return [*range(self.size)] if self.size <= _MOST else [0, 1, self.size - 1]

    @property
    def indices(self) -> list[int]:
        return [b * self.size + k for b in range(self.blocks) for k in self.of_block]

    @property
    def gap(self) -> int | None:
        """The place in a block before which entries are left out."""
        return 2 if self.size > _MOST else None


def shown(array: Any, axes: tuple[Axis, Axis]) -> list[list[float]]:
    """The entries of an array [rows, columns] that are shown."""
    rows, columns = axes
    return np.asarray(array)[np.ix_(rows.indices, columns.indices)].tolist()


def printed(value: float) -> str:
    """A number as the page prints it: at least two significant digits."""
    size = abs(value)
    if size == 0:
        return "0"
    sign = "−" if value < 0 else ""
    if 0.001 <= size < 1000:
        return f"{sign}{size:.{3 if size >= 0.1 else 4}f}"
    mantissa, exponent = f"{size:.1e}".split("e")
    return f"{sign}{mantissa}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
