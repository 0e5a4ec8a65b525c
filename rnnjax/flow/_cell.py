"""What all of `rnnjax.flow` runs: one cell over a validated sequence."""

from typing import Any

from rnnjax._execution import Sequence
from rnnjax._types import Cell, Params, PyTree
from rnnjax.running import validate_shaped


def validate_cell(
    cell: Cell, params: Params, xs: PyTree, *options: Any
) -> tuple[Sequence, int, tuple[int, ...]]:
    """The validated sequence, its length T and its batch shape; `options` as for `validate`.

    Raises:
      TypeError: a layer instead of a cell, and as `rnnjax.unroll`.
      ValueError: as `rnnjax.unroll`.
    """
    if not isinstance(cell, Cell) and hasattr(cell, "apply"):
        raise TypeError(
            f"rnnjax.flow follows one state from step to step and expects a Cell, got "
            f"{type(cell).__name__}. For recurrent(cell) pass the cell; for serial(a, b) of cells "
            "pass stack(a, b) with the same params; for bidirectional(f, b) pass one direction at "
            "a time: f, params[0], xs and b, params[1], xs[::-1]"
        )
    return validate_shaped(cell, params, xs, *options)
