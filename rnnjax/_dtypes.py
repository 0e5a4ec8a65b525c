"""Dtypes to compute in: the widest of several, and at least float32 for sums.

The casts to them are explicit, so both work where `jax_numpy_dtype_promotion` is "strict" too.
"""

from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp


def standard_promotion() -> AbstractContextManager[None]:
    """JAX's standard promotion of dtypes, for code of others that is not written for "strict"."""
    return jax.numpy_dtype_promotion("standard")


def promoted(*values: Any) -> jnp.dtype:
    """The dtype that holds the numbers of all these arrays or dtypes."""
    with standard_promotion():
        return jnp.result_type(*values)


def at_least_float32(value: Any) -> jnp.dtype:
    """The dtype in which to sum numbers of the dtype of an array, or of a dtype."""
    return promoted(jnp.result_type(value), jnp.float32)
