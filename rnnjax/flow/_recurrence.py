"""`Recurrence`: a net's recurrent part on one batch, as `watch` measures it."""

from collections.abc import Callable
from typing import NamedTuple

from rnnjax._types import Array, Carry, Cell, Params, PyTree


class Recurrence(NamedTuple):
    """The recurrent part of a model on one batch, in the form that `rnnjax.flow` analyses."""

    cell: Cell
    params: Params
    xs: PyTree  # [T, B, D]
    cost: Callable[[Carry, PyTree], Array]  # (last carry, ys) -> C, summed over the examples
    lengths: Array | None = None
    resets: Array | None = None
