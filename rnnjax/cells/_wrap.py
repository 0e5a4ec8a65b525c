"""A user's change to a cell's step."""

from collections.abc import Callable

from rnnjax._types import Cell, Step


def wrap(cell: Cell, change: Callable[[Step], Step]) -> Cell:
    """Change a cell's step and keep its params and carry.

    The hand-derived rule belongs to the old step, so it is dropped: gradients of the new cell
    come from `autodiff()`. A new rule can be put back with `cell._replace(rule=...)`, after
    `rnnjax.gradients.check` has passed it.

    Args:
      cell: the cell to change.
      change: takes the old step `(params, carry, x_t) -> (carry, y_t)` and returns the new one.

    Returns:
      A `Cell` with rule=None.

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
    return cell._replace(step=change(cell.step), rule=None)
