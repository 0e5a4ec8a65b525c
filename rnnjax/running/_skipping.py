"""Sequences with steps to skip in their middle: run without them, then laid out in time again.

The steps that are not skipped are moved to the front, which makes padding of the others, so that
every gradient and method handles them without knowing of it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._execution import Sequence
from rnnjax._types import Array, Carry, PyTree
from rnnjax.running._flagged import beside_features, select, zeros_like
from rnnjax.running._sequence import blank, within


class Skipped(NamedTuple):
    """How a sequence was closed up, each `[T, ...]`."""

    source: Array  # int32: the step of the closed-up sequence whose output a step shows
    has_run: Array  # whether there is such a step
    same_episode: Array  # whether it belongs to the episode of this step
    valid: Array | None  # False in the padding


def close_up(sequence: Sequence, mask: Array, reverse: bool) -> tuple[Sequence, Skipped]:
    """The sequence of the steps where mask `[T, ...]` is True, right-padded, and the way back."""
    xs, carry, fresh, lengths, resets = sequence
    steps = mask.shape[0]
    valid = None if lengths is None else within(lengths, steps)
    if valid is not None:
        mask = mask & valid
    order = jnp.argsort(~mask, axis=0, stable=True)
    run, before = mask.sum(0, dtype=jnp.int32), jnp.cumsum(mask, axis=0, dtype=jnp.int32)
    source = before - mask.astype(jnp.int32) if reverse else before - 1
    has_run = source < run[None] if reverse else source >= 0
    source = jnp.clip(source, 0, steps - 1)
    same_episode = has_run
    if resets is not None:
        # The steps of an episode have a number; a new one begins where the numbers differ.
        number = jnp.cumsum(resets if valid is None else resets & valid, axis=0, dtype=jnp.int32)
        numbers = _at(order, number)
        same_episode &= _at(source, numbers) == number
        resets = jnp.concatenate([numbers[:1] > 0, numbers[1:] > numbers[:-1]])
        if reverse:  # one that began after the last step to run
            last = _at(jnp.maximum(run - 1, 0)[None], numbers)[0]
            carry = select((number[-1] > last) & (run > 0), fresh, carry)
    closed = Sequence(jax.tree.map(lambda x: _at(order, x), xs), carry, fresh, run, resets)
    return closed, Skipped(source, has_run, same_episode, valid)


def lay_out_outputs(skipped: Skipped, ys: PyTree) -> PyTree:
    """Outputs in their places: a skipped step repeats the last one of its episode, 0 before it."""
    ys = jax.tree.map(lambda y: _at(skipped.source, y), ys)
    ys = select(skipped.same_episode, ys, zeros_like(ys))
    return blank(skipped.valid, ys)


def lay_out_carries(skipped: Skipped, carries: Carry, first: Carry) -> Carry:
    """The carry after every step: a skipped step has that of before it, at first `first`."""
    carries = jax.tree.map(lambda c: _at(skipped.source, c), carries)
    return select(skipped.has_run, carries, jax.tree.map(lambda c: c[None], first))


def flip_steps(ys: PyTree, lengths: Array | None) -> PyTree:
    """ys `[T, ...]` in the reverse order of their steps; padding stays at the end."""

    def flip(y: Array) -> Array:
        if lengths is None:
            return jnp.flip(y, axis=0)
        steps = y.shape[0]
        t = jnp.arange(steps, dtype=jnp.int32).reshape((steps,) + (1,) * jnp.ndim(lengths))
        last = jnp.asarray(lengths, jnp.int32)[None] - 1
        return _at(jnp.where(t <= last, last - t, t), y)

    return jax.tree.map(flip, ys)


def _at(steps: Array, leaf: Array) -> Array:
    """leaf `[T, ..., *features]` at other steps `[S, ...]`, each example its own."""
    index = beside_features(steps, leaf)
    return jnp.take_along_axis(leaf, index, axis=0, mode="promise_in_bounds")
