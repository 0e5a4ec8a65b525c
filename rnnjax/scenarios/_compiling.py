"""Loops over a user's step, compiled once for its function and the shapes of its arrays."""

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

import jax
from jax.tree_util import Partial

from rnnjax._checks import is_array
from rnnjax._readings import reading

R = TypeVar("R")


def compiled_over_steps(*static: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """A decorator for `loop(step, *arrays, **static)`: `jax.jit`, as far as a step allows it.

    A `functools.partial` of a function over arrays is that function, which is known again at the
    next call while what it reads by name is the same, and the arrays, which are passed to the
    compiled loop. What any other step closes over may have changed since, so that it is traced at
    every call.
    """

    def decorate(loop: Callable[..., R]) -> Callable[..., R]:
        compiled = jax.jit(loop, static_argnames=static)

        @functools.wraps(loop)
        def run(step: Callable[..., Any], *arrays: Any, **static: Any) -> R:
            bound = _over_arrays(step)
            if bound is None:
                return loop(step, *arrays, **static)
            return compiled(bound, *arrays, **static)

        return run

    return decorate


def _over_arrays(step: Any) -> Partial | None:
    """A `functools.partial` of a function over arrays as a pytree of these; None for others."""
    if not isinstance(step, functools.partial):
        return None
    if not isinstance(step.func, FunctionType | jax.stages.Wrapped):
        return None  # such as the method of an object, which may change
    function = reading(step.func)
    if function is None:
        return None
    bound = Partial(function, *step.args, **step.keywords)
    return bound if all(map(is_array, jax.tree.leaves(bound))) else None


def check_step(found: Any, form: str) -> Any:
    """The output of a step, from the shapes of all that it returns, "(state, output [B, D])"."""
    if not isinstance(found, tuple) or len(found) != 2 or not hasattr(found[1], "shape"):
        shapes = jax.tree.map(lambda leaf: leaf.shape, found)
        raise TypeError(f"step must return {form}, got {shapes}")
    return found[1]
