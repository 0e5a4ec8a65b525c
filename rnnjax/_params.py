"""How many weights a cell has."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._types import Params


def num_params(params: Params) -> int:
    """The number of trainable real numbers in params: a complex one counts as two.

    Args:
      params: any pytree of arrays, or of their shapes as `jax.eval_shape(cell.init, ...)` gives
        them. Integers, booleans and PRNG keys are not counted.

    Example:
      >>> import jax, rnnjax
      >>> rnnjax.num_params(rnnjax.lstm(4).init(jax.random.key(0), 3))  # 4 gates of (3 + 4 + 1) · 4
      128
    """

    def count(leaf: Any) -> int:
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.inexact):
            return 0
        return math.prod(jnp.shape(leaf)) * (2 if jnp.issubdtype(dtype, jnp.complexfloating) else 1)

    return sum(map(count, jax.tree.leaves(params)))
