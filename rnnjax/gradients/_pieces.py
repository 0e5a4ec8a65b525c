"""A piece of a sequence in time."""

import jax
import jax.numpy as jnp

from rnnjax._execution import Sequence
from rnnjax._types import Array, Carry
from rnnjax.running import select


def piece_of(
    sequence: Sequence, reverse: bool, carry: Carry, start: Array | int, size: int
) -> Sequence:
    """Steps start … start + size - 1 of a sequence, as a sequence that begins with `carry`.

    Its lengths and resets are those of the piece, so that one piece run after the other, in the
    order of the run, is the run of the whole.

    Args:
      sequence: the whole.
      reverse: whether it is run from the last step to the first.
      carry: the carry after the piece that is run before this one, `sequence.carry` for the first.
      start: the first step of the piece in time; it may be traced.
      size: the number of its steps.

    Returns:
      A `Sequence` with xs `[size, ..., *features]`.
    """
    xs, _, fresh, lengths, resets = sequence
    steps = steps_of(sequence)

    def cut(leaf: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(leaf, start, size)

    if reverse and resets is not None:
        # The carry restarts after an episode's first step, which may be the one that ran last.
        after = jnp.minimum(start + size, steps - 1)
        begins = resets[after] & (start + size < steps)
        if lengths is not None:
            begins &= start + size < lengths
        carry = select(begins, fresh, carry)
    return Sequence(
        jax.tree.map(cut, xs),
        carry,
        fresh,
        None if lengths is None else remaining(lengths, start, size),
        None if resets is None else cut(resets),
    )


def steps_of(sequence: Sequence) -> int:
    """T, which must be known: how many pieces there are is part of the program.

    Raises:
      ValueError: it is a symbolic dimension of `jax.export`.
    """
    steps = jax.tree.leaves(sequence.xs)[0].shape[0]
    if not isinstance(steps, int):
        raise ValueError(
            f"xs has a symbolic number of steps, T = {steps}, and a gradient that cuts time into "
            "pieces (truncated, truncated_window, truncated_williams_peng, checkpointed) needs a "
            "number: export for one length, with batch sizes that may be symbolic, or by bptt() or "
            "autodiff()"
        )
    return steps


def remaining(lengths: Array, start: Array | int, size: int) -> Array:
    """The lengths within steps start … start + size - 1."""
    return jnp.clip(lengths - jnp.asarray(start, lengths.dtype), 0, size)
