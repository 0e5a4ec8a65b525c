"""Gradients by automatic differentiation of the loop itself."""

from dataclasses import dataclass, field

from rnnjax._calls import Value
from rnnjax._execution import BaseGradient, Loop, Run
from rnnjax._types import Carry, Cell, Params, PyTree
from rnnjax.running import in_float32


@dataclass(frozen=True, repr=False)
class Autodiff(Value):
    """The value made by `autodiff()`."""

    name: str = field(default="autodiff", init=False)
    clip: None = field(default=None, init=False)

    @property
    def base(self) -> "Autodiff":
        return self

    def wrap(self, run: Run, reverse: bool) -> Run:
        return run

    def refusal(self, cell: Cell) -> str | None:
        return None

    def loop(
        self, cell: Cell, loop: Loop, params: Params, carry: Carry, xs: PyTree, reverse: bool
    ) -> tuple[Carry, PyTree]:
        wide, narrow = in_float32(params)
        return loop.scan(lambda carry, x_t: cell.step(narrow(wide), carry, x_t), carry, xs, reverse)


def autodiff() -> BaseGradient:
    """Differentiate through the scan: the reference for every other gradient.

    Works for any cell and under every JAX transformation: `grad`, `jvp`, `jacfwd`, `jacrev`,
    `hessian`, in any order. It saves every intermediate value of every step, and adds each
    step's weight gradient into an accumulator inside the loop, in float32 at least.

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
