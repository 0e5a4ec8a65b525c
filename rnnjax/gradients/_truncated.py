"""Truncated backpropagation through time, by its three definitions."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from rnnjax._arrays import register_value
from rnnjax._calls import Value
from rnnjax._checks import check_positive_int
from rnnjax._execution import BaseGradient, Gradient, Run, check_gradient
from rnnjax.gradients._reach import truncate


class Truncation(Value, ABC):
    """What the three have in common: each is Williams & Peng's BPTT(h; h') for some h and h'."""

    inner: Gradient | None

    @property
    @abstractmethod
    def reach(self) -> tuple[int, int]:
        """h and h'."""

    @property
    def base(self) -> BaseGradient | None:
        return None if self.inner is None else self.inner.base

    def wrap(self, run: Run, reverse: bool) -> Run:
        run = run if self.inner is None else self.inner.wrap(run, reverse)
        return truncate(run, *self.reach, reverse)


@dataclass(frozen=True, repr=False)
class Truncated(Truncation):
    """The value made by `truncated(k, base)`."""

    k: int
    inner: Gradient | None = None
    name: str = field(default="truncated", init=False)

    @property
    def reach(self) -> tuple[int, int]:
        return self.k, self.k


@dataclass(frozen=True, repr=False)
class TruncatedWindow(Truncation):
    """The value made by `truncated_window(k, base)`."""

    k: int
    inner: Gradient | None = None
    name: str = field(default="truncated_window", init=False)

    @property
    def reach(self) -> tuple[int, int]:
        return self.k, 1


@dataclass(frozen=True, repr=False)
class TruncatedWilliamsPeng(Truncation):
    """The value made by `truncated_williams_peng(h, h_prime, base)`."""

    h: int
    h_prime: int
    inner: Gradient | None = None
    name: str = field(default="truncated_williams_peng", init=False)

    @property
    def reach(self) -> tuple[int, int]:
        return self.h, self.h_prime


for _kind in (Truncated, TruncatedWindow, TruncatedWilliamsPeng):
    register_value(_kind, ("inner",))


def _checked(base: Gradient | None) -> Gradient | None:
    return None if base is None else check_gradient("base", base)


def truncated(k: int, base: Gradient | None = None) -> Gradient:
    """Truncated BPTT over non-overlapping chunks: the error stops where its chunk begins.

        carry at t = k, 2k, 3k, …  is passed on, its gradient is not

    The values are those of the full run. A cost at step t reaches back to the beginning of its
    chunk, between 1 and k steps, so the gradient is biased against long dependencies. This is what
    is most often called truncated BPTT, and the cheapest of its three definitions:

        truncated(k)                          between 1 and k steps, k/2 in the mean
        truncated_williams_peng(h, h_prime)   between h - h' + 1 and h steps
        truncated_window(k)                   k steps

    Chunks are counted from the first step of each sequence that is run: with reverse=True from its
    own last one. If k does not divide the length, the last chunk that is run is shorter. The final
    carry is a cost of the last step. Resets cut inside a chunk as everywhere, and a chunk that
    begins at the initial carry passes its gradient on.

    Works over every method, kernels included. Takes the time and the memory of BPTT: a fifth more
    time was measured for k = 20.

    Args:
      k: steps in a chunk.
      base: how each chunk is differentiated: `autodiff()`, `bptt()`, or another wrapping gradient;
        None for the default of the method that runs it.

    Raises:
      TypeError, ValueError: k is not a positive int.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.identity_rnn(1)
      >>> params = rnnjax.cells.IdentityParams(w_x=jax.numpy.ones((1, 1)))
      >>> def cost(xs):
      ...     return rnnjax.unroll(cell, params, xs, gradient=rnnjax.truncated(2))[1].sum()
      >>> jax.grad(cost)(jax.numpy.ones((5, 1)))[:, 0].tolist()     # chunks 0-1, 2-3, 4
      [2.0, 1.0, 2.0, 1.0, 1.0]

    References:
      Mikolov et al. (2010), Recurrent neural network based language model, Interspeech.
      Sutskever (2013), Training recurrent neural networks, PhD thesis, Toronto, section 2.8.6.
    """
    return Truncated(check_positive_int("k", k), _checked(base))


def truncated_window(k: int, base: Gradient | None = None) -> Gradient:
    """Truncated BPTT over a sliding window: the cost of every step reaches back exactly k steps.

        ∂C_t/∂W ≈ Σ_{s=t-k+1}^{t} ∂C_t/∂carry_s · ∂carry_s/∂W        its direct part, at step s

    The values are those of the full run. This is BPTT(k; 1) of Williams & Peng, and what theory
    usually means by a truncation to k lags: the bias is that of the lags from k on, the same for
    every step. With k = T it is BPTT. See `truncated` for the two cheaper definitions.

    Steps are counted in the order in which they are run. The final carry is a cost of each
    sequence's own last step, and a window that reaches the initial carry passes its gradient on.

    Works over every method, kernels included. Takes about k times the time of BPTT: every step is
    run again, forward and backward, in k windows, T/k of them side by side as a batch. The memory
    is that of BPTT and of one more carry a step.

    Args:
      k: steps that a cost reaches back, its own included.
      base: how each window is differentiated: `autodiff()`, `bptt()`, or another wrapping gradient;
        None for the default of the method that runs it.

    Raises:
      TypeError, ValueError: k is not a positive int.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.identity_rnn(1)
      >>> params = rnnjax.cells.IdentityParams(w_x=jax.numpy.ones((1, 1)))
      >>> def cost(xs):
      ...     return rnnjax.unroll(cell, params, xs, gradient=rnnjax.truncated_window(2))[1].sum()
      >>> jax.grad(cost)(jax.numpy.ones((5, 1)))[:, 0].tolist()     # the costs of t and t + 1
      [2.0, 2.0, 2.0, 2.0, 1.0]

    References:
      Williams & Peng (1990), An efficient gradient-based algorithm for on-line training of
      recurrent network trajectories, Neural Computation 2.
    """
    return TruncatedWindow(check_positive_int("k", k), _checked(base))


def truncated_williams_peng(h: int, h_prime: int, base: Gradient | None = None) -> Gradient:
    """Truncated BPTT by Williams & Peng's BPTT(h; h'): every h' steps, back through the last h.

        block j   steps j h' … (j + 1) h' - 1   their costs reach back to step j h' - (h - h')

    The values are those of the full run. A cost reaches back between h - h' + 1 and h steps, as far
    as the beginning of the h steps that end with its block. h' = h are the chunks of `truncated`,
    h' = 1 is `truncated_window`. Also written TBPTT(k1, k2), with k1 = h' and k2 = h.

    Blocks are counted from the first step of each sequence that is run: with reverse=True from its
    own last one. If h' does not divide the length, the last block is shorter, and reaches back to
    the same step as a whole one would. The final carry is a cost of each sequence's own last step.

    Works over every method, kernels included. Takes about h / h' times the time of BPTT: every step
    is run again, forward and backward, in ⌈h / h'⌉ windows of h steps, T/h of them side by side as
    a batch. The memory is that of BPTT and of one more carry every h' steps.

    Args:
      h: steps that are gone back through.
      h_prime: how many of them, the last, have their costs counted; 1 … h.
      base: how each window is differentiated: `autodiff()`, `bptt()`, or another wrapping gradient;
        None for the default of the method that runs it.

    Raises:
      TypeError, ValueError: h or h_prime is not a positive int, or h_prime is more than h.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.identity_rnn(1)
      >>> params = rnnjax.cells.IdentityParams(w_x=jax.numpy.ones((1, 1)))
      >>> def cost(xs):
      ...     blocks = rnnjax.truncated_williams_peng(3, 2)
      ...     return rnnjax.unroll(cell, params, xs, gradient=blocks)[1].sum()
      >>> jax.grad(cost)(jax.numpy.ones((6, 1)))[:, 0].tolist()     # from 0-1, 2-3, 4-5 to 0, 1, 3
      [2.0, 3.0, 2.0, 3.0, 2.0, 1.0]

    References:
      Williams & Peng (1990), An efficient gradient-based algorithm for on-line training of
      recurrent network trajectories, Neural Computation 2.
      Williams & Zipser (1995), Gradient-based learning algorithms for recurrent networks and their
      computational complexity, in Backpropagation: theory, architectures and applications.
    """
    h, h_prime = check_positive_int("h", h), check_positive_int("h_prime", h_prime)
    if h_prime > h:
        raise ValueError(
            f"h_prime must be at most h = {h}, got {h_prime}: the costs of the last h_prime steps "
            "go back through the last h"
        )
    return TruncatedWilliamsPeng(h, h_prime, _checked(base))
