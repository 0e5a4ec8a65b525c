"""Gradients of your own: copy this file, keep one of the two kinds, change what says TODO.

- A *base* gradient says how one loop over time is differentiated. `recomputed()` keeps the carries
  alone, and computes the inside of each step again on the way back: exact, in less memory.
- A *wrapping* gradient cuts a run in time and says what crosses the cuts. `faded(k, factor)`
  multiplies the error by a factor at every k-th step: `truncated(k)` is factor=0, BPTT factor=1.

Both are frozen dataclasses: values with a hash, so that each compiles once. `python my_gradient.py`
compares both with the exact gradient.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import rnnjax
from rnnjax import extend


@dataclass(frozen=True)
class Recomputed:
    """The value made by `recomputed()`."""

    name = "recomputed"
    clip = None  # what is done to δ_t inside the loop: nothing

    @property
    def base(self):
        return self

    def wrap(self, run, reverse):
        return run  # a base gradient wraps nothing

    def refusal(self, cell):
        return None  # TODO: why it cannot serve this cell, as a sentence; None if it can

    def loop(self, cell, loop, params, carry, xs, reverse):
        """TODO: run `cell` over xs in `loop`, so that `jax.grad` of the result is yours.

        Lengths and resets are built into this cell, its carry and xs already: scan its step.
        """
        again = rnnjax.Cell(cell.init, cell.initial_carry, jax.checkpoint(cell.step))
        return rnnjax.autodiff().loop(again, loop, params, carry, xs, reverse)


def recomputed() -> rnnjax.BaseGradient:
    """Keep the carries, and compute all else of each step again."""
    return Recomputed()


@dataclass(frozen=True)
class Faded:
    """The value made by `faded(k, factor, base)`."""

    k: int
    factor: float
    inner: rnnjax.Gradient | None = None
    name = "faded"

    @property
    def base(self):
        return None if self.inner is None else self.inner.base

    def wrap(self, run, reverse):
        run = run if self.inner is None else self.inner.wrap(run, reverse)

        def in_pieces(params, sequence):
            steps = jax.tree.leaves(sequence.xs)[0].shape[0]
            if steps <= self.k:
                return run(params, sequence)
            carry, outputs = sequence.carry, []
            starts = range(0, steps, self.k)  # TODO: where you cut
            for start in reversed(starts) if reverse else starts:
                size = min(self.k, steps - start)
                piece = extend.piece_of(sequence, reverse, carry, start, size)
                carry, ys = run(params, piece)
                outputs.append(ys)
                cut = start if reverse else start + size
                if 0 < cut < steps:
                    carry = self.cross(carry, sequence.lengths, cut)
            outputs = outputs[::-1] if reverse else outputs
            return carry, jax.tree.map(lambda *parts: jnp.concatenate(parts), *outputs)

        return in_pieces

    def cross(self, carry, lengths, cut):
        """TODO: the same carry, with what crosses the cut done to its error."""

        def fade(leaf):
            if not jnp.issubdtype(leaf.dtype, jnp.inexact):
                return leaf  # a PRNG key or a counter
            factor = self.factor
            if lengths is not None:  # an example that has ended crosses nothing
                factor = jnp.where(lengths > cut, factor, 1.0).astype(leaf.real.dtype)
                factor = factor.reshape(lengths.shape + (1,) * (leaf.ndim - lengths.ndim))
            return leaf + (factor - 1) * (leaf - jax.lax.stop_gradient(leaf))

        return jax.tree.map(fade, carry)


def faded(k: int, factor: float, base: rnnjax.Gradient | None = None) -> rnnjax.Gradient:
    """Multiply the error by `factor` wherever it crosses a multiple of k steps."""
    return Faded(k, factor, base)


if __name__ == "__main__":
    cell = rnnjax.lstm(8)
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (30, 4, 3))
    for gradient in (recomputed(), faded(10, 0.5), faded(10, 0.5, recomputed())):
        print(gradient)
        print(rnnjax.gradients.error(cell, params, xs, lambda carry, ys: ys.sum(), gradient))
