"""What the cell factories share: the registry, per-gate initialisation, input sizes."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._calls import cached
from rnnjax._checks import (
    array_of,
    check_callable,
    check_positive_int,
    checked_arguments,
    described,
    in_brackets,
    is_array,
)
from rnnjax._guard import check_new, guarded
from rnnjax._types import Array, Cell, Inputs
from rnnjax.cells.initializers import Initializer, Named

DType = jnp.dtype | type | str
P = ParamSpec("P")

FACTORIES: dict[str, Callable[..., Cell]] = {}
"""The registry: every cell factory by its name. Tasks, command line, tests and docs read it."""


def factory(make: Callable[P, Cell]) -> Callable[P, Cell]:
    """Decorator of a function that makes a cell: cached, printable and in the registry.

    Equal calls return the same cell, so that `unroll(my_cell(8), ...)` compiles once; it prints as
    the call that made it.

    Args:
      make: a function that returns a `Cell`; its name is the cell's name in `FACTORIES`.

    Returns:
      The same function, cached.

    Raises:
      TypeError: `make` is not a function.
      ValueError: another function of this name is registered.

    Example:
      >>> import rnnjax
      >>> rnnjax.lstm(8) is rnnjax.lstm(hidden=8), rnnjax.lstm(8, forget_bias=5.0)
      (True, lstm(8, forget_bias=5.0))
    """
    check_new(FACTORIES, "cell factory", make)
    FACTORIES[make.__name__] = made = cached(guarded)(_checked(make))
    return made


def _checked(make: Callable[P, Cell]) -> Callable[P, Cell]:
    """The factory, which looks at its initialisers and its dtype too."""
    plain, signature = checked_arguments(make), inspect.signature(make)

    @functools.wraps(make)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Cell:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name == "dtype":
                float_dtype(value)
            elif name.endswith("_init") and value is not None:
                check_callable(name, value, "(key, shape, dtype) -> array")
        return plain(*args, **kwargs)

    return checked


def float_dtype(dtype: DType | None) -> jnp.dtype:
    """The weights' dtype: `dtype`, or JAX's default float (float64 where x64 is enabled)."""
    try:
        chosen = jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
    except TypeError:
        chosen = None
    if chosen is None or not jnp.issubdtype(chosen, jnp.floating):
        raise TypeError(
            f"dtype must be floating point, such as jnp.float32, as weights are, got {dtype!r}"
        )
    return jax.dtypes.canonicalize_dtype(chosen)


def draw(name: str, init: Initializer, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """An array by an initialiser, if it is one of this shape and dtype, and finite."""
    w = array_of(init(key, shape, dtype))
    if not is_array(w) or w.shape != shape or w.dtype != dtype:
        raise ValueError(
            f"{name}(key, shape, dtype) must return {dtype}{in_brackets(shape)} for shape={shape}, "
            f"got {described(w)}"
        )
    if not isinstance(init, Named) and not isinstance(w, Tracer) and not np.isfinite(w).all():
        raise ValueError(f"{name}(key, shape, dtype) must return finite numbers, got NaN or Inf")
    return jnp.asarray(w)


def draw_weights(
    key: Array,
    inputs: Inputs,
    hidden: int,
    gates: int,
    w_x_init: Initializer,
    w_h_init: Initializer,
    dtype: DType | None,
    outputs: int | None = None,
) -> tuple[Array, Array, Array]:
    """w_x [D, gates*H] and w_h [H, gates*H], drawn gate by gate, and b = 0 [gates*H].

    `outputs` are the rows of w_h where they are not H.
    """
    input_size = check_positive_int("input_size", inputs)
    chosen = float_dtype(dtype)
    key_x, key_h = jax.random.split(key)

    def blocks(name: str, key: Array, rows: int, init: Initializer) -> Array:
        keys = jax.random.split(key, gates)
        shape = (rows, hidden)
        return jnp.concatenate([draw(name, init, k, shape, chosen) for k in keys], axis=-1)

    w_x = blocks("w_x_init", key_x, input_size, w_x_init)
    w_h = blocks("w_h_init", key_h, hidden if outputs is None else outputs, w_h_init)
    return w_x, w_h, jnp.zeros(gates * hidden, chosen)
