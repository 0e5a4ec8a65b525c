"""The run of a cell over a sequence by a base gradient, in one loop over time."""

from rnnjax._execution import BaseGradient, Loop, OnlineGradient, Run, Sequence
from rnnjax._types import Carry, Cell, Params, PyTree
from rnnjax.gradients._autodiff import autodiff
from rnnjax.gradients._bptt import bptt
from rnnjax.running import final_carry, prepare, revealing


def exact(cell: Cell) -> BaseGradient:
    """The exact gradient of a cell, by its rule if it has one."""
    return autodiff() if cell.rule is None else bptt()


def run_of(
    cell: Cell, base: BaseGradient | None, loop: Loop, reverse: bool = False, carries: bool = False
) -> Run:
    """The run of a cell in one loop over time, with lengths and resets: what a method returns.

    Args:
      cell: the cell, as its method's `bind` gets it.
      base: how the loop is differentiated; None for exactly, by the cell's rule if it has one.
      loop: the loop that the cell's functions run in.
      reverse: whether it runs from the last step to the first.
      carries: whether the outputs are `(carries, ys)`, both of every step.

    Returns:
      `(params, sequence) -> (carry, ys)`.

    Example:
      >>> import jax, rnnjax
      >>> from rnnjax import extend
      >>> class Loop:
      ...     hoist = False
      ...     def scan(self, body, carry, xs, reverse):
      ...         return jax.lax.scan(body, carry, xs, reverse=reverse, unroll=5)
      >>> cell = rnnjax.gru(3)
      >>> params, xs = cell.init(jax.random.key(0), 2), jax.numpy.ones((5, 2))
      >>> carry = cell.initial_carry(params, ())
      >>> run = extend.run_of(cell, None, Loop())
      >>> run(params, extend.Sequence(xs, carry, carry, None, None))[1].shape
      (5, 3)
    """
    gradient = base or exact(cell)
    if isinstance(gradient, OnlineGradient):
        return gradient.bind(cell, loop, reverse, carries)

    def run(params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
        ready, carry, xs = prepare(cell, params, sequence, reverse)
        ready = revealing(ready) if carries else ready
        carry, ys = gradient.loop(ready, loop, params, carry, xs, reverse)
        return final_carry(carry), ys

    return run
