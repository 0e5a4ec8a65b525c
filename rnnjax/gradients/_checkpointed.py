"""Gradient checkpointing (rematerialisation) over time."""

from dataclasses import dataclass, field
from functools import partial

from rnnjax._arrays import register_value, take_arrays
from rnnjax._calls import Value
from rnnjax._checks import check_positive_int
from rnnjax._execution import BaseGradient, Gradient, OnlineGradient, Run, check_gradient
from rnnjax._random import is_key
from rnnjax.gradients._segments import in_segments
from rnnjax.gradients._truncated import Truncation


@dataclass(frozen=True, repr=False)
class Checkpointed(Value):
    """The value made by `checkpointed(k, base, levels=levels)`."""

    k: int | None = None
    inner: Gradient | None = None
    levels: int = field(default=1, kw_only=True)
    name: str = field(default="checkpointed", init=False)

    @property
    def base(self) -> BaseGradient | None:
        return None if self.inner is None else self.inner.base

    def wrap(self, run: Run, reverse: bool) -> Run:
        run = run if self.inner is None else self.inner.wrap(run, reverse)
        traced = any(array is not None for array in take_arrays(self.inner)[1])
        # One that refuses the gradient of xs must see that nobody asks for it.
        partly = isinstance(self.base, OnlineGradient)
        sizes = partial(_sizes, self.k, self.levels)
        return in_segments(run, sizes, reverse, by_rule=not traced and not partly)


register_value(Checkpointed, ("inner",))


def _sizes(k: int | None, levels: int, steps: int) -> tuple[int, ...]:
    """Steps in the segments of each level, which cut what is above into as many parts each."""
    if k is None:
        each = steps ** (1 / (levels + 1))
        return tuple(max(1, round(each**level)) for level in range(levels, 0, -1))
    each = (steps / k) ** (1 / levels)
    return tuple(k * max(1, round(each**level)) for level in range(levels - 1, -1, -1))


def checkpointed(
    k: int | None = None, base: Gradient | None = None, *, levels: int = 1
) -> Gradient:
    """The exact gradient in less memory: store the carry every k steps, recompute in between.

    The forward pass keeps the carry at the start of every segment of k steps, and nothing else;
    the backward pass runs each segment forward again, its projection and its tape included, then
    backward. Takes the memory of T / k carries and of what one segment saves, for one more forward
    pass; k = √T balances the two. What is as long as the sequence is xs and ys, and their
    cotangents where they have any: a loss of the last carry alone keeps none of these but xs.

    With more levels, segments are cut into segments again. `levels` of them hold each about
    (T / k)^(1 / levels) carries, and take one more forward pass each.

        T = 10⁶     carries kept     steps on the tape     forward passes
        levels=1            1000                  1000                  2
        levels=2       100 + 100                   100                  3
        levels=3    32 + 32 + 32                    32                  4

    Outputs, and the gradients of xs and of the initial carry, are those of the base to the last
    bit where the run of a segment takes its sums in the same order as that of the whole, as
    `sequential()` does. The gradients of params are summed segment by segment, so they are equal
    up to rounding.

    Works over every method, kernels included, and under every transformation that they work under.

    Args:
      k: steps in a segment, the smallest with more levels; T^(1 / (levels + 1)), rounded, if None.
      base: how each segment is differentiated: `autodiff()`, `bptt()`, or another wrapping
        gradient; None for the default of the method that runs it. Not a truncation, which goes
        around it, as in `truncated(20, checkpointed(5))`, nor one that draws random numbers, whose
        memory does not grow with T anyway.
      levels: how many times the sequence is cut.

    Raises:
      TypeError, ValueError: k or levels is not a positive int; base is no gradient, or one that
        truncates or draws random numbers, such as `rnnjax.online.uoro(key)`.

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
    inner = None if base is None else check_gradient("base", base)
    if isinstance(inner, Truncation):
        raise ValueError(
            f"checkpointed(base={inner}) would cut the gradient within segments and pass it on "
            "from one to the next: put the truncation outside, as in truncated(20, checkpointed(5))"
        )
    if inner and any(array is not None and is_key(array) for array in take_arrays(inner)[1]):
        raise ValueError(
            f"checkpointed(base={inner.name}(key)) would draw the same signs in every segment, and "
            "be biased by that: use the base by itself, whose memory does not grow with T"
        )
    return Checkpointed(k, inner, levels=check_positive_int("levels", levels))
