"""What one writes combinators, gradients and methods with: the protocols, and the few tools.

A cell needs none of this. docs/how_to has a page and a file to copy for each kind of extension.
"""

from rnnjax._checks import check_cell
from rnnjax._execution import (
    BaseGradient as BaseGradient,
    Gradient as Gradient,
    Loop as Loop,
    Method as Method,
    Sequence as Sequence,
)
from rnnjax._types import (
    Array,
    Carry,
    Cell,
    Params,
    Structure,
    initial_carry as _initial_carry,
    known as _known,
)
from rnnjax.combinators import combinator as combinator
from rnnjax.gradients import piece_of as piece_of, run_of as run_of
from rnnjax.running import Masked as Masked, mask as mask

__all__ = [
    "BaseGradient",
    "Gradient",
    "Loop",
    "Masked",
    "Method",
    "Sequence",
    "combinator",
    "initial_carry",
    "known",
    "mask",
    "piece_of",
    "run_of",
]


def known(cell: Cell) -> Structure:
    """What `cell.structure` says that still holds for the step and the rule that the cell has now.

    Combinators and methods read this rather than `cell.structure`: a cell whose rule was replaced
    has no form, layers or linear form any more, so that nothing runs in the place of that rule.

    Args:
      cell: any `Cell`.

    Returns:
      A `Structure`; the default, which claims nothing, where nothing holds.

    Raises:
      TypeError: `cell` is not a `Cell`.
      ValueError: its step was replaced without its rule.

    Example:
      >>> import rnnjax
      >>> cell = rnnjax.lstm(4)
      >>> mine = cell._replace(rule=cell.rule._replace(backward=cell.rule.backward, step=None))
      >>> rnnjax.extend.known(cell).form, mine.structure.form, rnnjax.extend.known(mine).form
      ('lstm', 'lstm', None)
    """
    return _known(check_cell(cell))


def initial_carry(
    cell: Cell, params: Params, batch_shape: tuple[int, ...], key: Array | None = None
) -> Carry:
    """The carry that a cell begins with; the key goes to a cell whose `initial_carry` takes one.

    For cells around cells: a user's cell without randomness may leave the argument `key` out.

    Args:
      cell: the inner cell.
      params: its params.
      batch_shape: with which every leaf of the carry begins.
      key: PRNG key for training-time randomness; None for the evaluation form.

    Returns:
      The carry, leaves `[*batch_shape, ...]`.

    Raises:
      TypeError: `cell` is not a `Cell`.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> rnnjax.extend.initial_carry(cell, params, (2,)).h.shape
      (2, 4)
    """
    return _initial_carry(check_cell(cell), params, batch_shape, key)
