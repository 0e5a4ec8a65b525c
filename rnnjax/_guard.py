"""Cells that look at what they are given before they compute with it."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.export import is_symbolic_dim

from rnnjax._calls import Call
from rnnjax._checks import array_of, batch_shape_of, check_carry, described, is_array
from rnnjax._params import checked_params, in_dtype_of
from rnnjax._random import carry_form, check_key
from rnnjax._types import Array, Carry, Cell, Clip, Inputs, Params, PyTree, known, stamped


def guarded(cell: Cell, call: Call) -> Cell:
    """What a factory made in this call: it prints so, and refuses what is not its own.

    It looks at params and carries where its structure states the shapes of its params. That costs
    some microseconds at a step that runs op by op, and nothing in compiled code.
    """
    is_guarded = cell.structure.call is not None  # made by another factory
    cell, shapes = stamped(cell, call), known(cell).params
    if shapes is None or is_guarded:
        return cell
    carries = _Carries(cell)

    @functools.wraps(cell.init)
    def init(key: Array, inputs: Inputs) -> Params:
        return cell.init(check_key(key), inputs)

    @functools.wraps(cell.initial_carry)
    def initial_carry(
        params: Params, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> Carry:
        params = checked_params(cell, shapes, params)
        key = None if key is None else check_key(key)
        return cell.initial_carry(params, check_batch_shape(batch_shape), key)

    @functools.wraps(cell.step)
    def step(params: Params, carry: Carry, x_t: PyTree) -> tuple[Carry, PyTree]:
        params = checked_params(cell, shapes, params)
        x_t = array_of(x_t) if isinstance(x_t, list) else x_t
        if all(map(is_array, jax.tree.leaves(x_t))):
            x_t = in_dtype_of(params, x_t)
        carries.check(params, carry, x_t)
        return cell.step(params, carry, x_t)

    rule = None if cell.rule is None else cell.rule._replace(step=None)
    return Cell(init, initial_carry, step, rule, cell.structure._replace(made_for=None))


def check_new(registry: Mapping[str, Callable[..., Cell]], kind: str, make: Any) -> None:
    """Raise unless `make` is a function whose name no other one has in the registry.

    Raises:
      TypeError, ValueError: what it is, or where the other one is.
    """
    if not inspect.isfunction(make):
        raise TypeError(f"make must be a function that returns a Cell, got {described(make)}")
    known = registry.get(make.__name__)
    origin = (make.__module__, make.__qualname__)  # running a notebook's block again is no clash
    if known is not None and (known.__module__, known.__qualname__) != origin:
        raise ValueError(f"a {kind} called {make.__name__} exists already, in {known.__module__}")


def keeps_type(clip: Clip) -> Clip:
    """`clip`, which raises an error if it changes the shape or dtype of δ_t."""

    def checked(delta: Array) -> Array:
        clipped = clip(delta)
        is_array = hasattr(clipped, "shape") and hasattr(clipped, "dtype")
        if not is_array or (clipped.shape, clipped.dtype) != (delta.shape, delta.dtype):
            shown = f"{clipped.dtype}{list(clipped.shape)}" if is_array else repr(clipped)
            raise ValueError(
                f"clip={clip!r} was given δ_t of type {delta.dtype}{list(delta.shape)} and "
                f"returned {shown}: a clip returns an array of the shape and dtype that it is given"
            )
        return clipped

    return checked


def check_batch_shape(batch_shape: Any) -> tuple[int, ...]:
    """`batch_shape`, if it is a tuple of sizes."""
    if not isinstance(batch_shape, tuple | list) or not all(
        is_symbolic_dim(size) or (isinstance(size, int | np.integer) and not isinstance(size, bool))
        for size in batch_shape
    ):
        raise TypeError(
            f"batch_shape must be a tuple of ints, such as (2,) or (), got {described(batch_shape)}"
        )
    if any(not is_symbolic_dim(size) and size < 0 for size in batch_shape):
        raise ValueError(f"batch_shape must have no negative size, got {tuple(batch_shape)}")
    return tuple(batch_shape)


class _Carries:
    """The carries that a step may be given, each worked out once."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.known: dict[Any, Any] = {}

    def check(self, params: Params, carry: Carry, x_t: PyTree) -> None:
        """Raise ValueError unless `carry` is one of this cell's, of the batch shape of x_t."""
        batch_shape = batch_shape_of(self.cell.structure.feature_axes, x_t)
        leaves, tree = jax.tree.flatten(carry)
        weights = [(np.shape(w), getattr(w, "dtype", None)) for w in jax.tree.leaves(params)]
        at = (batch_shape, tree, *weights)
        if at not in self.known:
            self.known[at] = self.forms(params, carry, batch_shape)
        expected = self.known[at]
        if expected is None:
            self.refuse(params, carry, x_t, batch_shape)
        elif batch_shape is not None:
            given = [
                (getattr(leaf, "shape", None), getattr(leaf, "dtype", None)) for leaf in leaves
            ]
            if given != expected:
                self.refuse(params, carry, x_t, batch_shape)

    def forms(self, params: Params, carry: Carry, batch_shape: Any) -> list[Any] | None:
        """The shapes and dtypes of the leaves; None if the structure of `carry` is another."""
        expected = _expected(self.cell, params, batch_shape or (), carry)
        if jax.tree.structure(expected) != jax.tree.structure(carry):
            return None
        return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(expected)]

    def refuse(self, params: Params, carry: Carry, x_t: PyTree, batch_shape: Any) -> None:
        expected = _expected(self.cell, params, batch_shape or (), carry)
        if batch_shape is not None:
            jax.eval_shape(self.cell.step, params, expected, x_t)  # raises what is wrong with x_t
        check_carry("carry", carry, expected)


def _expected(cell: Cell, params: Params, batch_shape: tuple[int, ...], carry: Carry) -> Carry:
    """What a carry looks like, in the form that `carry` has: with PRNG keys in it or without."""
    fresh = jax.eval_shape(lambda params: cell.initial_carry(params, batch_shape), params)
    return carry_form(cell, params, batch_shape, carry, fresh)
