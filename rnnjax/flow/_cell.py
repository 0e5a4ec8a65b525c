"""What all of `rnnjax.flow` runs: one cell over a validated sequence."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from rnnjax._checks import array_of, check_callable, check_mask, is_inexact
from rnnjax._execution import Sequence
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.running import (
    blank,
    close_up,
    fill_padding,
    lay_out_outputs,
    mask,
    select,
    validate_shaped,
)

S = TypeVar("S")
Out = TypeVar("Out")


def validate_cell(
    cell: Cell, params: Params, xs: PyTree, *options: Any
) -> tuple[Sequence, int, tuple[int, ...]]:
    """The validated sequence, its length T and its batch shape; `options` as for `validate`.

    Raises:
      TypeError: a layer instead of a cell, and as `rnnjax.unroll`.
      ValueError: as `rnnjax.unroll`.
    """
    refuse_layer(cell)
    return validate_shaped(cell, params, xs, *options)


class InTime:
    """Where steps are in time that were run without those that a mask skips."""

    def __init__(self, skipped: Any, shown: Array) -> None:
        self._skipped = skipped
        # [T, ...], false at skipped steps and in the padding
        self.shown = shown if skipped.valid is None else shown & skipped.valid

    def cost(self, cost: Callable[[Carry, PyTree], Array]) -> Callable[[Carry, PyTree], Array]:
        """The same cost, of the outputs as they were run."""
        check_callable("cost", cost, "(carry, ys) -> scalar")
        return lambda carry, ys: cost(carry, lay_out_outputs(self._skipped, ys))

    def of_steps(self, tree: PyTree) -> PyTree:
        """What each step has `[T, ...]` in its place, zero where there was none."""
        return blank(self.shown, lay_out_outputs(self._skipped, tree))


def validate_masked(
    cell: Cell, params: Params, xs: PyTree, skips: Array | None, *options: Any
) -> tuple[Sequence, int, tuple[int, ...], InTime | None]:
    """`validate_cell`, of a sequence without the steps where the mask `skips` is false."""
    sequence, steps, batch_shape = validate_cell(cell, params, xs, *options)
    if skips is None:
        return sequence, steps, batch_shape, None
    shown = check_mask(skips, steps, batch_shape)
    if not steps:
        return sequence, steps, batch_shape, None
    closed, skipped = _close_up(sequence, shown)
    return closed, steps, batch_shape, InTime(skipped, shown)


_close_up = jax.jit(partial(close_up, reverse=False))


def refuse_layer(cell: Any) -> None:
    """Raise TypeError if it is a layer."""
    if not isinstance(cell, Cell) and hasattr(cell, "apply") and hasattr(cell, "call"):
        raise TypeError(
            f"rnnjax.flow follows one state from step to step and expects a Cell, got "
            f"{type(cell).__name__}. For recurrent(cell) pass the cell; for serial(a, b) of cells "
            "pass stack(a, b) with the same params; for bidirectional(f, b) pass one direction at "
            "a time: f, params[0], xs and b, params[1], xs[::-1]"
        )


def check_some(steps: int, batch_shape: tuple[int, ...]) -> None:
    """Raise ValueError unless xs has a step and an example."""
    if steps == 0:
        raise ValueError("xs has T = 0 steps: no error can travel back. Give at least one step")
    if 0 in batch_shape:
        raise ValueError(
            f"xs has no examples, its batch shape is {batch_shape}: there is nothing to measure. "
            "Give at least one"
        )


def in_dtype(tree: PyTree, dtype: Any) -> PyTree:
    """Its real leaves in a real dtype; complex ones in complex128 for float64, else complex64."""
    real = jnp.dtype(dtype)
    pair = jnp.complex128 if real == jnp.float64 else jnp.complex64

    def cast(leaf: Any) -> Any:
        leaf = array_of(leaf)
        if not is_inexact(leaf):
            return leaf
        return jnp.asarray(leaf).astype(pair if jnp.iscomplexobj(leaf) else real)

    return jax.tree.map(cast, tree)


def follow(
    params: Params,
    sequence: Sequence,
    state: S,
    step: Callable[[Carry, PyTree, Array | bool, Array | bool, S], tuple[Carry, S, Out]],
) -> tuple[S, Out]:
    """Run `step(carry, x_t, valid, begins, state) -> (carry, state, out)` over a sequence.

    Where an episode begins, `step` gets the fresh carry. In padding the carry stays, whatever the
    step returns; the state and the output are the step's own to mask, by `valid` `[...]`.
    """
    xs, valid, begins = mask(params, sequence, reverse=False)
    xs = fill_padding(xs, sequence.lengths, valid)

    def body(held: tuple[Carry, S], inputs: Any) -> tuple[tuple[Carry, S], Out]:
        carry, state = held
        x_t, valid_t, begins_t = inputs
        if begins_t is not None:
            carry = select(begins_t, sequence.fresh, carry)
        live, first = valid_t is None or valid_t, begins_t is not None and begins_t
        new, state, out = step(carry, x_t, live, first, state)
        new = new if valid_t is None else select(valid_t, new, carry)
        return (new, state), out

    (_, state), out = jax.lax.scan(body, (sequence.carry, state), (xs, valid, begins))
    return state, out


def choose(flag: Array | bool, on_true: Array, on_false: Array) -> Array:
    """`on_true` for the examples whose flag `[...]` is set, else `on_false`."""
    if isinstance(flag, bool):
        return on_true if flag else on_false
    return select(flag, on_true, on_false)
