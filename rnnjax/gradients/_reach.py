"""Truncated BPTT over any run: how far back in time the cost of each step reaches.

Time is cut into blocks of h' steps, from the first step that is run. The costs of a block reach
back through the block itself and the h - h' steps before it:

    block j   steps j h' … (j + 1) h' - 1   their costs reach back to step j h' - (h - h')

h' = h: chunks that do not overlap. h' = 1: a window of h steps for the cost of every step.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import is_inexact
from rnnjax._execution import Run, Sequence
from rnnjax._types import Array, Carry, Params, PyTree
from rnnjax.gradients._pieces import piece_of, remaining, steps_of
from rnnjax.gradients._run_order import fill_padding_of_outputs, in_run_order
from rnnjax.running import in_float32, select


def truncate(run: Run, h: int, h_prime: int, reverse: bool) -> Run:
    """`run` with the values that it has, and the gradients of BPTT(h; h')."""
    cut = partial(_in_chunks, h) if h == h_prime else partial(_in_windows, h, h_prime)
    pieces = in_run_order(run, lambda forward: partial(cut, forward), reverse)

    def truncated(params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
        is_short = steps_of(sequence) <= _exact(h, h_prime)
        return (run if is_short else pieces)(params, sequence)

    return truncated


def _exact(h: int, h_prime: int) -> int:
    """How many steps at the beginning reach back to the first: those of the first blocks."""
    return h // h_prime * h_prime


def _in_chunks(size: int, run: Run, params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
    """Chunk after chunk. The carry between two of them is passed on without its gradient."""
    wide, narrow = in_float32(params)  # in which the chunks' gradients are summed
    whole = steps_of(sequence) // size * size

    def body(carry: Carry, piece: tuple[Array, Sequence]) -> tuple[Carry, PyTree]:
        start, cut = piece
        carry = _stop(carry, start, sequence.lengths)
        return run(narrow(wide), cut._replace(carry=carry, fresh=sequence.fresh))

    carry, ys = jax.lax.scan(body, sequence.carry, _pieces(sequence, 0, size))
    ys = _joined(ys)
    if whole == steps_of(sequence):
        return carry, ys
    carry = _stop(carry, whole, sequence.lengths)
    last, ys_rest = run(params, _slice(sequence, carry, whole, steps_of(sequence) - whole))
    return last, _concatenated(ys, ys_rest)


def _in_windows(
    h: int, h_prime: int, run: Run, params: Params, sequence: Sequence
) -> tuple[Carry, PyTree]:
    """The values by one run; the gradients of each block by a run of h steps of its own.

    Every n-th window, n = ⌈h / h'⌉, overlaps none of the others: these are run side by side, as a
    batch. So there are n passes over the sequence, and what each saves is computed again in its
    backward pass: no more is in memory than what one pass over the sequence saves.
    """
    steps, first = steps_of(sequence), _exact(h, h_prime)
    blocks = -(-(steps - first) // h_prime)  # beyond the first steps; the last may be shorter
    last, ys, starts, carries = _values(run, params, sequence, h, h_prime, blocks)
    end, own = run(params, _slice(sequence, sequence.carry, 0, first))
    ends, owns = [_stacked(end)], [own]
    if blocks > 1:
        whole = _at((starts, carries), slice(0, blocks - 1))
        end, own = _side_by_side(run, params, sequence, h, h_prime, *whole)
        ends, owns = [*ends, end], [*owns, own]
    start = int(starts[-1])
    end, own = run(params, _slice(sequence, _at(carries, -1), start, steps - start))
    ends, owns = [*ends, _stacked(end)], [*owns, _at(own, slice(h - h_prime, None))]
    last = _with_gradient_of(last, _last(_concatenated(*ends), sequence.lengths, first, h_prime))
    ys = _with_gradient_of(ys, _concatenated(*owns))
    return last, fill_padding_of_outputs(run, params, sequence._replace(carry=last), ys)


def _values(
    run: Run, params: Params, sequence: Sequence, h: int, h_prime: int, blocks: int
) -> tuple[Carry, PyTree, np.ndarray, Carry]:
    """The run without gradients, and where each window starts, with the carry there."""
    params, sequence = jax.lax.stop_gradient((params, sequence))
    first = h_prime - h % h_prime
    carry, ys = run(params, _slice(sequence, sequence.carry, 0, first))

    def body(carry: Carry, piece: tuple[Array, Sequence]) -> tuple[Carry, tuple[Carry, PyTree]]:
        new, ys = run(params, piece[1]._replace(carry=carry, fresh=sequence.fresh))
        return new, (carry, ys)

    pieces = _pieces(sequence, first, h_prime)
    carry, (carries, more) = jax.lax.scan(body, carry, pieces)
    carries, ys = _concatenated(carries, _stacked(carry)), _concatenated(ys, _joined(more))
    whole = first + h_prime * len(pieces[0])
    if whole < steps_of(sequence):
        rest = _slice(sequence, carry, whole, steps_of(sequence) - whole)
        carry, more = run(params, rest)
        ys = _concatenated(ys, more)
    starts = first + h_prime * np.arange(blocks, dtype=np.int32)
    return carry, ys, starts, _at(carries, slice(0, blocks))


def _side_by_side(
    run: Run,
    params: Params,
    sequence: Sequence,
    h: int,
    h_prime: int,
    starts: np.ndarray,
    carries: Carry,
) -> tuple[Carry, PyTree]:
    """For windows of h steps, the carry after each and the outputs of its last h' steps."""
    passes = -(-h // h_prime)
    count = len(starts)
    order = np.arange(-(-count // passes) * passes).reshape(-1, passes).T  # [passes, windows]
    order = np.minimum(order, count - 1)  # what is run twice so is read once
    wide, narrow = in_float32(params)

    @partial(jax.checkpoint, prevent_cse=False)
    def one_pass(start: Array, carry: Carry) -> tuple[Carry, PyTree]:
        def window(start: Array, carry: Carry) -> tuple[Carry, PyTree]:
            end, ys = run(narrow(wide), _slice(sequence, carry, start, h))
            return end, jax.tree.map(lambda y: y[h - h_prime :], ys)

        return jax.vmap(window)(start, carry)

    chosen = jnp.asarray(starts[order]), _at(carries, order)
    found = jax.lax.scan(lambda _, each: (None, one_pass(*each)), None, chosen)[1]
    # [passes, windows, ...] in the order of time
    found = jax.tree.map(lambda leaf: _joined(jnp.swapaxes(leaf, 0, 1))[:count], found)
    return found[0], _joined(found[1])


def _last(lasts: Carry, lengths: Array | None, first: int, h_prime: int) -> Carry:
    """The carry after the block in which each example ends, of those after every block."""
    if lengths is None:
        return _at(lasts, -1)
    block = jnp.where(lengths <= first, 0, (lengths - first - 1) // h_prime + 1)

    def choose(leaf: Array) -> Array:
        if not is_inexact(leaf):
            return leaf[-1]
        index = block.reshape((1, *block.shape) + (1,) * (leaf.ndim - 1 - block.ndim))
        return jnp.take_along_axis(leaf, index, axis=0, mode="promise_in_bounds")[0]

    return jax.tree.map(choose, lasts)


def _stop(carry: Carry, start: Array | int, lengths: Array | None) -> Carry:
    """The carry into step `start` without its gradient, if it comes from a step before it.

    It has come through no border where the run begins there, or the example has ended before.
    """
    stopped = jax.lax.stop_gradient(carry)
    begins = jnp.asarray(start == 0)
    begins = begins if lengths is None else begins | (start >= lengths)
    return select(begins, carry, stopped)


def _with_gradient_of(values: PyTree, others: PyTree) -> PyTree:
    """`values`, which are those of `others` too, differentiated as `others` are."""

    def choose(value: Array, other: Array) -> Array:
        return _differentiated_as(value, other) if is_inexact(value) else value

    return jax.tree.map(choose, values, others)


@jax.custom_jvp
def _differentiated_as(value: Array, other: Array) -> Array:
    return value


@_differentiated_as.defjvp
def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
    return primals[0], tangents[1]


def _slice(sequence: Sequence, carry: Carry, start: Array | int, size: int) -> Sequence:
    return piece_of(sequence, False, carry, start, size)


def _pieces(sequence: Sequence, start: int, size: int) -> tuple[Array, Sequence]:
    """All whole pieces of `size` steps from `start` on, stacked, and where each starts."""
    count = (steps_of(sequence) - start) // size

    def cut(leaf: Array) -> Array:
        return leaf[start : start + count * size].reshape(count, size, *leaf.shape[1:])

    starts = start + size * jnp.arange(count, dtype=jnp.int32)
    xs, _, _, lengths, resets = sequence
    if lengths is not None:
        lengths = remaining(lengths[None], starts.reshape((-1,) + (1,) * lengths.ndim), size)
    xs, resets = jax.tree.map(cut, (xs, resets))
    return starts, Sequence(xs, None, None, lengths, resets)


def _joined(tree: PyTree) -> PyTree:
    """Leaves [n, size, ...] as [n · size, ...]."""
    return jax.tree.map(
        lambda leaf: leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:]), tree
    )


def _concatenated(*trees: PyTree) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)


def _stacked(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[None], tree)


def _at(tree: PyTree, index: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], tree)
