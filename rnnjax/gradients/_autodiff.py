"""Gradients by automatic differentiation of the loop itself."""

from dataclasses import dataclass
from functools import partial

from rnnjax._types import Carry, Cell, Gradient, Params, PyTree, Stepwise


@dataclass(frozen=True)
class Autodiff:
    """The value made by `autodiff()`."""

    name: str = "autodiff"
    clip: None = None

    def run(
        self, cell: Cell, method: Stepwise, params: Params, carry: Carry, xs: PyTree, reverse: bool
    ) -> tuple[Carry, PyTree]:
        return method.scan(partial(cell.step, params), carry, xs, reverse)


def autodiff() -> Gradient:
    """Differentiate through the scan: the reference for every other gradient.

    Works for any cell and under every JAX transformation: `grad`, `jvp`, `jacfwd`, `jacrev`,
    `hessian`, in any order. It saves every intermediate value of every step, and adds each
    step's weight gradient into an accumulator inside the loop.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.vanilla(2)
      >>> params, xs = cell.init(jax.random.key(0), 1), jax.numpy.ones((4, 1))
      >>> def cost(xs):
      ...     return rnnjax.unroll(cell, params, xs, gradient=rnnjax.autodiff())[0].h.sum()
      >>> jax.jacfwd(cost)(xs).shape
      (4, 1)
    """
    return Autodiff()
