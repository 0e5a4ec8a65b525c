"""What combinators share: the call that made a cell, its rule at one step, randomness."""

from collections.abc import Callable
from typing import Any, ParamSpec

import jax

from rnnjax._calls import cached
from rnnjax._checks import checked_arguments
from rnnjax._guard import check_new, guarded
from rnnjax._params import features_after
from rnnjax._random import example_keys, typed_key
from rnnjax._types import (
    Array,
    Carry,
    Cell,
    Inputs,
    Params,
    PyTree,
    Rule,
    Tape,
    initial_carry,
)

P = ParamSpec("P")


COMBINATORS: dict[str, Callable[..., Cell]] = {}
"""Every factory of cells from cells, by its name."""


def combinator(make: Callable[P, Cell]) -> Callable[P, Cell]:
    """Decorator of a factory of cells from cells: cached, printable and in the registry.

    Equal calls return the same cell, so that what is made of it compiles once; it prints as the
    call that made it.

    Args:
      make: a function from one or several cells, and options, to a `Cell`; its name is the
        combinator's name in `rnnjax.combinators.COMBINATORS`.

    Returns:
      The same function, cached.

    Raises:
      TypeError: `make` is not a function.
      ValueError: another combinator of this name is registered.

    Example:
      >>> import rnnjax
      >>> cell = rnnjax.residual(rnnjax.lstm(8))
      >>> cell is rnnjax.residual(rnnjax.lstm(8)), cell
      (True, residual(lstm(8)))
    """
    check_new(COMBINATORS, "combinator", make)
    COMBINATORS[make.__name__] = made = cached(guarded)(checked_arguments(make))
    return made


def inner_forward(rule: Rule, params: Params, carry: Carry, x_t: PyTree):
    """The whole forward half of one step, projection included."""
    return rule.forward(params, carry, rule.project(params, x_t))


def inner_input_ct(rule: Rule, params: Params, x_t: PyTree, tape_t: Tape, delta_t: PyTree) -> Any:
    """∂C/∂x_t of one step, by `Rule.gradients` on a sequence of length one.

    The weights' gradients that come with it are unused, and the compiler drops them.
    """
    one = jax.tree.map(lambda leaf: leaf[None], (x_t, tape_t, delta_t))
    return jax.tree.map(lambda leaf: leaf[0], rule.gradients(params, *one)[1])


def output_features(cell: Cell, params: Params, inputs: Inputs) -> Inputs:
    """The features of y_t, as `Init` takes them, for inputs with the features `inputs`."""
    return features_after(
        lambda params, x_t: cell.step(params, cell.initial_carry(params, ()), x_t)[1],
        params,
        inputs,
    )


def start_random(
    cell: Cell, params: Params, batch_shape: tuple[int, ...], key: Array | None
) -> tuple[Carry, Array | None]:
    """The inner cell's initial carry, and the outer cell's own PRNG keys [...]; None without a key.

    The inner cell gets another key than the outer one, so that nested cells draw independently.
    """
    if key is None:
        return initial_carry(cell, params, batch_shape), None
    own, inner = jax.random.split(typed_key(key))
    return initial_carry(cell, params, batch_shape, inner), example_keys(own, batch_shape)
