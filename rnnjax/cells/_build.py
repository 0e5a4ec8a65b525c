"""What the cell factories share: size checks, per-gate initialisation, zero carries."""

import jax
import jax.numpy as jnp

from rnnjax._checks import check_positive_int
from rnnjax._types import Array
from rnnjax.cells.initializers import Initializer

DType = jnp.dtype | type | str


def float_dtype(dtype: DType | None) -> jnp.dtype:
    """The weights' dtype: `dtype`, or JAX's default float (float64 where x64 is enabled)."""
    chosen = jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
    if not jnp.issubdtype(chosen, jnp.floating):
        raise TypeError(f"dtype is {chosen}: weights are floating point, such as jnp.float32")
    return jax.dtypes.canonicalize_dtype(chosen)


def draw_weights(
    key: Array,
    input_size: int,
    hidden: int,
    gates: int,
    w_x_init: Initializer,
    w_h_init: Initializer,
    dtype: DType | None,
) -> tuple[Array, Array, Array]:
    """w_x [D, gates*H] and w_h [H, gates*H], drawn gate by gate, and b = 0 [gates*H]."""
    check_positive_int("input_size", input_size)
    chosen = float_dtype(dtype)
    key_x, key_h = jax.random.split(key)

    def blocks(key: Array, rows: int, init: Initializer) -> Array:
        keys = jax.random.split(key, gates)
        return jnp.concatenate([init(k, (rows, hidden), chosen) for k in keys], axis=-1)

    w_x = blocks(key_x, input_size, w_x_init)
    w_h = blocks(key_h, hidden, w_h_init)
    return w_x, w_h, jnp.zeros(gates * hidden, chosen)
