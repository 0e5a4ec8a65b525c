"""A run over a sequence in chunks of time."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from rnnjax._execution import Run, Sequence
from rnnjax._types import Array, Carry, Params, PyTree
from rnnjax.running import in_float32, select


def in_pieces(
    run: Run,
    size: int | None,
    reverse: bool,
    pass_on: Callable[[Carry], Carry],
) -> Run:
    """`run` over pieces of `size` steps, √T if None, counted from the first step that is run.

    Where T is not a multiple of `size` the last piece that is run is shorter. `pass_on` acts on
    the carry between two pieces. All but a shorter piece run in one loop.
    """

    def over_pieces(params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
        steps = jax.tree.leaves(sequence.xs)[0].shape[0]
        each = size or max(1, round(steps**0.5))
        whole, rest = divmod(steps, each)
        if steps <= each:
            return run(params, sequence)
        first = rest if reverse else 0  # backwards, the shorter piece is at the beginning in time
        piece = partial(piece_of, sequence, reverse)
        wide, narrow = in_float32(params)  # in which the pieces' gradients are summed

        def body(carry: Carry, index: Array) -> tuple[Carry, tuple[Carry, PyTree]]:
            last, ys = run(narrow(wide), piece(carry, first + index * each, each))
            return pass_on(last), (last, ys)

        order = jnp.arange(whole)
        carry, (lasts, ys) = jax.lax.scan(body, sequence.carry, order, reverse=reverse)
        ys = jax.tree.map(lambda y: y.reshape(whole * each, *y.shape[2:]), ys)
        if rest == 0:  # what leaves the last piece is not passed on
            return jax.tree.map(lambda leaf: leaf[0 if reverse else -1], lasts), ys
        start = 0 if reverse else whole * each
        last, ys_rest = run(narrow(wide), piece(carry, start, rest))
        parts = (ys_rest, ys) if reverse else (ys, ys_rest)
        return last, jax.tree.map(lambda *y: jnp.concatenate(y), *parts)

    return over_pieces


def piece_of(
    sequence: Sequence, reverse: bool, carry: Carry, start: Array | int, size: int
) -> Sequence:
    """Steps start … start + size - 1 of a sequence, as a sequence that begins with `carry`."""
    xs, _, fresh, lengths, resets = sequence
    steps = jax.tree.leaves(xs)[0].shape[0]

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
        None if lengths is None else jnp.clip(lengths - start, 0, size).astype(lengths.dtype),
        None if resets is None else cut(resets),
    )
