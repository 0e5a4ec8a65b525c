"""Validation of a sequence and its options, and preparation for a scan.

`unroll` and everything else that runs a cell over time share these two halves: `validate` reads
shapes and known values and raises; `prepare` is traced.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import (
    array_of,
    arrays_of,
    check_carry,
    check_lengths,
    check_resets,
    is_inexact,
)
from rnnjax._execution import Run, Sequence
from rnnjax._params import check_params
from rnnjax._random import carry_form, check_key
from rnnjax._types import Array, Carry, Cell, Params, PyTree, initial_carry as carry_of
from rnnjax.running._flagged import (
    Flagged,
    RestartCarry,
    freezing,
    restarting,
    select,
    zeros_like,
)
from rnnjax.running._shapes import input_dtypes, leading_shape

_ONE_RESTART = (
    "pass initial_carry= or key=, not both: a key draws the randomness of "
    "cell.initial_carry(params, batch_shape, key), and a carry holds its own"
)


def validate(
    cell: Cell,
    params: Params,
    xs: PyTree,
    carry: Carry | None = None,
    key: Array | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
) -> Sequence:
    """Validate a sequence and its options against the cell; see `unroll` for the errors."""
    return validate_shaped(cell, params, xs, carry, key, lengths, resets)[0]


def validate_shaped(
    cell: Cell,
    params: Params,
    xs: PyTree,
    carry: Carry | None = None,
    key: Array | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    initial_carry: Carry | None = None,
) -> tuple[Sequence, int, tuple[int, ...]]:
    """`validate`, which also finds the length T and the batch shape."""
    params = check_params(cell, params)
    xs = arrays_of(xs)
    if key is not None:
        check_key(key)
    length, batch_shape = leading_shape(cell, params, xs, lengths)
    fresh = carry_of(cell, params, batch_shape, key)
    _check_batch(fresh, batch_shape)
    if initial_carry is not None:
        fresh = _given_restart(cell, params, batch_shape, initial_carry, fresh, key, resets)
    if carry is None:
        carry = fresh
    elif key is not None and resets is None:
        raise ValueError(
            "pass carry= or key=, not both: a key draws the randomness of a new carry, which is "
            "cell.initial_carry(params, batch_shape, key). With resets= it is that of the episodes "
            "that begin there"
        )
    else:
        expected = _expected_carry(cell, params, batch_shape, carry, fresh, resets)
        carry = _fitted("carry", carry, expected, batch_shape)
    if lengths is not None:
        lengths = check_lengths(lengths, length, batch_shape)
    if resets is not None:
        resets = check_resets(resets, length, batch_shape)
    return Sequence(xs, carry, fresh, lengths, resets), length, batch_shape


def _given_restart(
    cell: Cell,
    params: Params,
    batch_shape: tuple[int, ...],
    given: Carry,
    own: Carry,
    key: Array | None,
    resets: Array | None,
) -> Carry:
    """What episodes restart from, where the user says it."""
    if resets is None:
        raise ValueError(
            "initial_carry= is what episodes restart from, where resets= says that they do: the "
            "state before the first step is carry="
        )
    if key is not None:
        raise ValueError(_ONE_RESTART)
    form = carry_form(cell, params, batch_shape, given, own)
    return _fitted("initial_carry", given, form, batch_shape)


def _check_batch(carry: Carry, batch_shape: tuple[int, ...]) -> None:
    """Raise ValueError unless every leaf of an initial carry begins with the batch shape."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(carry)[0]:
        if jnp.shape(leaf)[: len(batch_shape)] != batch_shape:
            name = jax.tree_util.keystr(path)
            raise ValueError(
                f"cell.initial_carry(params, {batch_shape}){name} has shape {jnp.shape(leaf)}: "
                "every leaf of a carry begins with the batch shape, so that examples freeze and "
                "restart one by one. What all of them share belongs in params"
            )


def _fitted(name: str, carry: Carry, expected: Carry, batch_shape: tuple[int, ...]) -> Carry:
    """`carry` or one for every example of it, if that is what is expected; `name` is for errors."""
    carry = _for_every_example(jax.tree.map(array_of, carry), expected, batch_shape)
    check_carry(name, carry, expected)
    return carry


def _for_every_example(carry: Carry, expected: Carry, batch_shape: tuple[int, ...]) -> Carry:
    """`carry`, given to every example of the batch if it is that of a single one."""
    if jax.tree.structure(carry) != jax.tree.structure(expected) or not batch_shape:
        return carry
    for leaf, want in zip(jax.tree.leaves(carry), jax.tree.leaves(expected), strict=True):
        is_key = jnp.issubdtype(want.dtype, jax.dtypes.prng_key)
        if jnp.shape(leaf) != want.shape[len(batch_shape) :] or is_key:
            return carry
    return jax.tree.map(lambda leaf, want: jnp.broadcast_to(leaf, want.shape), carry, expected)


def _expected_carry(
    cell: Cell,
    params: Params,
    batch_shape: tuple[int, ...],
    carry: Carry,
    fresh: Carry,
    resets: Array | None,
) -> Carry:
    """What `carry` must look like: `fresh`, or that in its training form where `carry` has it."""
    form = carry_form(cell, params, batch_shape, carry, fresh)
    if form is not fresh and resets is not None:
        raise ValueError(
            "resets= needs the randomness of the episodes that begin there, and carry= holds only "
            "that of the first: pass key= too, from which it is drawn, or initial_carry= with it"
        )
    return form


def restart_carry(
    cell: Cell,
    params: Params,
    carry: Carry,
    batch_shape: tuple[int, ...],
    given: Carry | None,
    key: Array | None = None,
) -> Carry:
    """What episodes restart from beside this `carry`: `given`, or the cell's own initial carry.

    Args:
      key: what the randomness of the cell's own is drawn by.

    Raises:
      ValueError: `given` does not fit, or one of the two is needed and is None.
    """
    if given is not None and key is not None:
        raise ValueError(_ONE_RESTART)
    if given is not None:
        return _fitted("initial_carry", given, carry, batch_shape)
    own = carry_of(cell, params, batch_shape, None if key is None else check_key(key))
    if key is None and carry_form(cell, params, batch_shape, carry, own) is not own:
        raise ValueError(
            "carry holds randomness (dropout, zoneout), which a new episode needs too: pass "
            "key=, from which it is drawn, or initial_carry=cell.initial_carry(params, "
            "batch_shape, key)"
        )
    return own


class Masked(NamedTuple):
    """The inputs of a sequence as a loop reads them."""

    xs: PyTree  # [T, ..., *features] in the params' precision, as they are in the padding
    valid: Array | None  # [T, ...] bool: False in the padding
    begins: Array | None  # [T, ...] bool: the carry restarts before this step of the loop


def mask(params: Params, sequence: Sequence, reverse: bool) -> Masked:
    """Spell out lengths and resets step by step, for a method that runs the steps by itself.

    Args:
      params: whose dtype the inputs are cast to.
      sequence: as a run gets it.
      reverse: whether it is run from the last step to the first; nothing is flipped.

    Returns:
      `Masked(xs [T, ..., *features], valid [T, ...], begins [T, ...])`. Where a step is not valid
      the carry stays, the output is zero, and xs holds anything, NaN included. Where a step begins,
      the carry is `sequence.fresh` before it. `valid` and `begins` are None where there are none.
    """
    xs, _, _, lengths, resets = sequence
    xs = jax.tree.map(jnp.asarray, xs, input_dtypes(params, xs))
    steps = jax.tree.leaves(xs)[0].shape[0]
    valid = None
    if lengths is not None:
        valid = within(lengths, steps)
    if resets is not None:
        if valid is not None:
            resets = resets & valid  # backwards, one in the padding would reach the last valid step
        if reverse:  # the carry restarts after an episode's first step, not before it
            resets = jnp.roll(resets, -1, axis=0).at[-1:].set(False)
    return Masked(xs, valid, resets)


def within(lengths: Array, steps: int) -> Array:
    """`[T, ...]`, true at the steps t < length; lengths are int32 `[...]`."""
    t = jnp.arange(steps, dtype=jnp.int32)
    return t.reshape((steps,) + (1,) * lengths.ndim) < lengths[None]


def blank(valid: Array | None, tree: PyTree) -> PyTree:
    """Zeros in the padding, which is where valid `[T, ...]` is False; None: there is none."""
    return tree if valid is None else select(valid, tree, zeros_like(tree))


def fill_padding(xs: PyTree, lengths: Array | None, valid: Array | None) -> PyTree:
    """Replace padding by one of the valid inputs, without a gradient to it.

    What is computed on padding is masked. A user's function, though, may have no finite derivative
    at zero, as the norm has none, and 0 · NaN is NaN: it is computed on what it is made for.

    Args:
      xs: leaves `[T, ..., *features]`.
      lengths: `[...]`; None where there is no padding.
      valid: `[T, ...]`, False in the padding; None likewise.
    """
    if lengths is None or valid is None or valid.size == 0:
        return xs
    longest = jnp.argmax(lengths.reshape(-1))

    def fill(leaf: Array) -> Array:
        features = leaf.shape[valid.ndim :]
        return fill_with(leaf[0].reshape(lengths.size, *features)[longest], leaf, valid)

    return jax.tree.map(fill, xs)


def fill_with(one: Array, xs: Array, valid: Array) -> Array:
    """xs `[T, ..., *features]` with `one`, which is valid if any is, where `valid` `[T, ...]` is
    False; without a gradient to it."""
    empty = jnp.ones_like(one) if is_inexact(one) else jnp.zeros_like(one)
    filler = select(jnp.any(valid), one, empty)
    return select(valid, xs, jax.lax.stop_gradient(jnp.broadcast_to(filler, xs.shape)))


def prepare(
    cell: Cell, params: Params, sequence: Sequence, reverse: bool = False
) -> tuple[Cell, Carry, PyTree]:
    """The cell, carry and inputs to scan: xs in the params' precision, lengths and resets built in.

    `scan(partial(cell.step, params), carry, inputs)` then runs the whole sequence;
    `final_carry` takes its last carry back to the form of the user's cell.
    """
    xs, valid, begins = mask(params, sequence, reverse)
    xs = fill_padding(xs, sequence.lengths, valid)
    carry = sequence.carry
    if begins is not None:
        xs, carry = Flagged(xs, begins), RestartCarry(carry, sequence.fresh)
        cell = restarting(cell)
    if valid is not None:
        xs, cell = Flagged(xs, valid), freezing(cell)
    return cell, carry, xs


def one_after_another(runs: list[Run], carries: bool = False) -> Run:
    """The run of a stack: each layer's run over the whole output of the one below.

    Params and carries are tuples with one entry a layer. With `carries`, outputs are
    `(carries, ys)`, those of the layers and of the stack.
    """

    def run(params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
        lasts: list[Carry] = []
        shown: list[Carry] = []
        for each, own, carry, fresh in zip(
            runs, params, sequence.carry, sequence.fresh, strict=True
        ):
            last, ys = each(own, sequence._replace(carry=carry, fresh=fresh))
            if carries:
                of_layer, ys = ys
                shown.append(of_layer)
            lasts.append(last)
            sequence = sequence._replace(xs=ys)
        return tuple(lasts), (tuple(shown), sequence.xs) if carries else sequence.xs

    return run
