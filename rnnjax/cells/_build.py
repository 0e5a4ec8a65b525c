"""What the cell factories share: the registry, per-gate initialisation, input sizes."""

from collections.abc import Callable
from typing import ParamSpec

import jax
import jax.numpy as jnp

from rnnjax._calls import cached
from rnnjax._checks import check_positive_int
from rnnjax._types import Array, Cell, Inputs, stamped
from rnnjax.cells.initializers import Initializer

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
      ValueError: another function of this name is registered.

    Example:
      >>> import rnnjax
      >>> rnnjax.lstm(8) is rnnjax.lstm(hidden=8), rnnjax.lstm(8, forget_bias=5.0)
      (True, lstm(8, forget_bias=5.0))
    """
    name = make.__name__
    known = FACTORIES.get(name)
    origin = (make.__module__, make.__qualname__)  # running a notebook's block again is no clash
    if known is not None and (known.__module__, known.__qualname__) != origin:
        raise ValueError(f"a cell factory called {name} exists already, in {known.__module__}")
    FACTORIES[name] = made = cached(stamped)(make)
    return made


def float_dtype(dtype: DType | None) -> jnp.dtype:
    """The weights' dtype: `dtype`, or JAX's default float (float64 where x64 is enabled)."""
    chosen = jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
    if not jnp.issubdtype(chosen, jnp.floating):
        raise TypeError(f"dtype is {chosen}: weights are floating point, such as jnp.float32")
    return jax.dtypes.canonicalize_dtype(chosen)


def draw_weights(
    key: Array,
    inputs: Inputs,
    hidden: int,
    gates: int,
    w_x_init: Initializer,
    w_h_init: Initializer,
    dtype: DType | None,
) -> tuple[Array, Array, Array]:
    """w_x [D, gates*H] and w_h [H, gates*H], drawn gate by gate, and b = 0 [gates*H]."""
    input_size = check_positive_int("input_size", inputs)
    chosen = float_dtype(dtype)
    key_x, key_h = jax.random.split(key)

    def blocks(key: Array, rows: int, init: Initializer) -> Array:
        keys = jax.random.split(key, gates)
        return jnp.concatenate([init(k, (rows, hidden), chosen) for k in keys], axis=-1)

    w_x = blocks(key_x, input_size, w_x_init)
    w_h = blocks(key_h, hidden, w_h_init)
    return w_x, w_h, jnp.zeros(gates * hidden, chosen)
