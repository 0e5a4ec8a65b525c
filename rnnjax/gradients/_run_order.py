"""A reversed run as a forward one, so that time is cut from where each example begins to run."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rnnjax._execution import Run, Sequence
from rnnjax._types import Carry, Params, PyTree
from rnnjax.running import flip_steps, select, within, zeros_like


def in_run_order(run: Run, cut: Callable[[Run], Run], reverse: bool) -> Run:
    """`cut(run)`, where `cut` takes and makes runs from the first step to the last alone.

    Backwards, an example begins at its own last step: what `cut` sees is each example's valid
    steps in the order in which they are run, padding still on the right.
    """
    if not reverse:
        return cut(run)

    def forward(params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
        carry, begins = sequence.carry, sequence.resets
        if begins is not None:  # there is no step before the first that `run` could restart after
            carry = select(begins[0], sequence.fresh, carry)
        last, ys = run(params, _mirror(sequence._replace(carry=carry)))
        return last, flip_steps(ys, sequence.lengths)

    def backward(params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
        last, ys = cut(forward)(params, _mirror(sequence))
        ys = fill_padding_of_outputs(run, params, sequence, flip_steps(ys, sequence.lengths))
        return last, ys

    return backward


def fill_padding_of_outputs(run: Run, params: Params, sequence: Sequence, ys: PyTree) -> PyTree:
    """`ys` with what `run` puts out in padding where its carry is `sequence.carry`.

    That is zero for outputs, and the carry itself where the outputs hold it.
    """
    if sequence.lengths is None:
        return ys
    steps = jax.tree.leaves(sequence.xs)[0].shape[0]
    valid = within(sequence.lengths, steps)
    none = jnp.zeros_like(sequence.lengths)
    one = jax.tree.map(lambda leaf: leaf[:1], sequence.xs)
    _, ys_t = run(params, Sequence(one, sequence.carry, sequence.fresh, none, None))
    padding = jax.tree.map(lambda leaf, y: jnp.broadcast_to(y, leaf.shape), ys, ys_t)
    return select(valid, ys, padding)


def _mirror(sequence: Sequence) -> Sequence:
    """The valid steps in the opposite order. What flags the first step is dropped."""
    xs, carry, fresh, lengths, resets = sequence
    if resets is not None:  # what is before a step here is after it there
        flipped = flip_steps(resets, lengths)
        resets = jnp.concatenate([zeros_like(flipped[:1]), flipped[:-1]])
        if lengths is not None:
            resets &= within(lengths, resets.shape[0])
    return Sequence(flip_steps(xs, lengths), carry, fresh, lengths, resets)
