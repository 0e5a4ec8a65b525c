"""Truncated backpropagation through time."""

from dataclasses import dataclass, field

import jax

from rnnjax._arrays import register_value
from rnnjax._calls import Value
from rnnjax._checks import check_positive_int
from rnnjax._execution import BaseGradient, Gradient, Run, check_gradient
from rnnjax.gradients._pieces import in_pieces


@dataclass(frozen=True, repr=False)
class Truncated(Value):
    """The value made by `truncated(k, base)`."""

    k: int
    inner: Gradient | None = None
    name: str = field(default="truncated", init=False)

    @property
    def base(self) -> BaseGradient | None:
        return None if self.inner is None else self.inner.base

    def wrap(self, run: Run, reverse: bool) -> Run:
        inner = run if self.inner is None else self.inner.wrap(run, reverse)
        return in_pieces(inner, self.k, reverse, jax.lax.stop_gradient)


register_value(Truncated, ("inner",))


def truncated(k: int, base: Gradient | None = None) -> Gradient:
    """Truncated BPTT over non-overlapping chunks: the error stops where its chunk begins.

        carry at t = k, 2k, 3k, …  is passed on, its gradient is not

    The values are those of the full run. A cost at step t reaches back to the beginning of its
    chunk, between 1 and k steps, so the gradient is biased against long dependencies. It differs
    from BPTT(h; h') of Williams & Peng, whose chunks overlap. With reverse=True the chunks are
    counted from the end of the sequence, where the run begins. If k does not divide T, the last
    chunk that is run is shorter.

    Works over every method, kernels included.

    Args:
      k: steps in a chunk.
      base: how each chunk is differentiated: `autodiff()`, `bptt()`, or another wrapping gradient;
        None for the default of the method that runs it.

    Raises:
      TypeError, ValueError: k is not a positive int.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.identity_rnn(1)
      >>> params, xs = cell.init(jax.random.key(0), 1), jax.numpy.ones((4, 1))
      >>> def cost(xs):
      ...     short = rnnjax.truncated(2)
      ...     return rnnjax.unroll(cell, params, xs, gradient=short)[0].h.sum() / params.w_x.sum()
      >>> jax.grad(cost)(xs)[:, 0].tolist()
      [0.0, 0.0, 1.0, 1.0]

    References:
      Williams & Peng (1990), An efficient gradient-based algorithm for on-line training of
      recurrent network trajectories, Neural Computation 2.
      Mikolov et al. (2010), Recurrent neural network based language model, Interspeech.
    """
    return Truncated(
        check_positive_int("k", k), None if base is None else check_gradient("base", base)
    )
