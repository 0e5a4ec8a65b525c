"""Wrap a cell's step in a function of your own."""

from collections.abc import Callable

from rnnjax._checks import check_callable, check_cell
from rnnjax._types import Cell, Step, Structure, known
from rnnjax.combinators._inner import combinator


@combinator
def wrap(cell: Cell, change: Callable[[Step], Step]) -> Cell:
    """Change a cell's step and keep its params and carry.

    What is known of the old step (its hand-derived rule, its kernel, which field of the carry y_t
    is) need not hold for the new one and is dropped: gradients of the new cell come from
    `autodiff()`. A rule of your own can be added with `cell._replace(rule=...)`, after
    `rnnjax.gradients.check` has passed it.

    Args:
      cell: the cell to change.
      change: takes the old step `(params, carry, x_t) -> (carry, y_t)` and returns the new one.

    Returns:
      A `Cell` with rule=None.

    Raises:
      TypeError: `cell` is not a `Cell`, or `change` no function that returns one.

    Example:
      >>> import jax, rnnjax
      >>> def squared_output(step):
      ...     def new_step(params, carry, x_t):
      ...         carry, y_t = step(params, carry, x_t)
      ...         return carry, y_t**2
      ...     return new_step
      >>> cell = rnnjax.wrap(rnnjax.lstm(4), squared_output)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))[1].shape
      (5, 4)
    """
    check_cell(cell)
    step = check_callable("change", change, "(step) -> step")(cell.step)
    check_callable("what change(step) returns", step, "(params, carry, x_t) -> (carry, y_t)")
    structure = Structure(feature_axes=cell.structure.feature_axes, params=known(cell).params)
    return Cell(cell.init, cell.initial_carry, step, structure=structure)
