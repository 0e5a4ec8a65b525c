"""Gradient checkpointing (rematerialisation) over time."""

from dataclasses import dataclass, field

import jax

from rnnjax._arrays import register_value
from rnnjax._calls import Value
from rnnjax._checks import check_positive_int
from rnnjax._execution import BaseGradient, Gradient, Run, check_gradient
from rnnjax.gradients._pieces import in_pieces


@dataclass(frozen=True, repr=False)
class Checkpointed(Value):
    """The value made by `checkpointed(k, base)`."""

    k: int | None = None
    inner: Gradient | None = None
    name: str = field(default="checkpointed", init=False)

    @property
    def base(self) -> BaseGradient | None:
        return None if self.inner is None else self.inner.base

    def wrap(self, run: Run, reverse: bool) -> Run:
        inner = run if self.inner is None else self.inner.wrap(run, reverse)
        # prevent_cse guards against merging the recomputation with the first pass, which cannot
        # happen across the loop over pieces. A piece outside the loop is the last that is run, and
        # the first to be differentiated: recomputing it would save nothing.
        again = jax.checkpoint(inner, prevent_cse=False)
        return in_pieces(inner, self.k, reverse, lambda carry: carry, in_loop=again)


register_value(Checkpointed, ("inner",))


def checkpointed(k: int | None = None, base: Gradient | None = None) -> Gradient:
    """The exact gradient in less memory: store the carry every k steps, recompute in between.

    The forward pass keeps the carry at the start of every segment of k steps; the backward pass
    runs each segment forward again, then backward. Takes the memory of T / k carries and of what
    one segment saves, for one more forward pass; k = √T balances the two. Equal to its base up to
    rounding.

    Works over every method, kernels included.

    Args:
      k: steps in a segment; √T, rounded, if None.
      base: how each segment is differentiated: `autodiff()`, `bptt()`, or another wrapping
        gradient; None for the default of the method that runs it.

    Raises:
      TypeError, ValueError: k is not a positive int.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.lstm(2)
      >>> params, xs = cell.init(jax.random.key(0), 1), jax.numpy.ones((9, 1))
      >>> def cost(params):
      ...     frugal = rnnjax.checkpointed(3)
      ...     return rnnjax.unroll(cell, params, xs, gradient=frugal)[0].h.sum()
      >>> jax.grad(cost)(params).w_h.shape
      (2, 8)

    References:
      Chen, Xu, Zhang & Guestrin (2016), Training deep nets with sublinear memory cost, arXiv
      1604.06174.
      Gruslys et al. (2016), Memory-efficient backpropagation through time, NeurIPS.
    """
    k = None if k is None else check_positive_int("k", k)
    return Checkpointed(k, None if base is None else check_gradient("base", base))
