"""What NumPy evaluates for the tests is what XLA computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_numpy import evaluated

X = jnp.arange(60.0).reshape(5, 4, 3) / 7
EACH = jnp.arange(10).reshape(5, 2) % 4
OUTSIDE = jnp.array([3, -1, 9, 0, -9])  # negative ones count from the end, as far as it goes
KEY = jax.random.key(0)

INDEXED = {
    "rows": lambda: X[OUTSIDE],
    "clipped": lambda: X.at[:, OUTSIDE].get(mode="clip"),
    "filled": lambda: X.at[OUTSIDE, :, OUTSIDE].get(mode="fill"),
    "filled integers": lambda: jnp.arange(7).at[OUTSIDE].get(mode="fill"),
    "for each example": lambda: jax.vmap(lambda x, i: x[i])(X, EACH),
    "for each column": lambda: jax.vmap(lambda x, i: x[:, i], (1, 0))(X, EACH[:4] % 3),
    "along an axis": lambda: jnp.take_along_axis(X, EACH[:, :, None], axis=1),
    "windows": lambda: jax.vmap(lambda i: jax.lax.dynamic_slice(X, (i, 0, 1), (2, 3, 2)))(OUTSIDE),
    "set": lambda: X.at[OUTSIDE[1:4]].set(2.0),
    "set a number": lambda: jnp.zeros(()).at[...].set(2.0),
    "add, some twice": lambda: X.at[jnp.array([1, 1, 9]), 1:3].add(1.5),
    "add for each example": lambda: jax.vmap(lambda x, i: x.at[i].add(1.5))(X, EACH),
    "derivative": lambda: jax.grad(lambda x: jnp.sum(x[jnp.array([1, 1, 3])] ** 2))(X),
}
DRAWN = {
    "8 bits": lambda: jax.random.bits(KEY, (3, 5), jnp.uint8),
    "32 bits": lambda: jax.random.bits(KEY, (7,), jnp.uint32),
    "64 bits": lambda: jax.random.bits(KEY, (2, 3), jnp.uint64),
    "uniform": lambda: jax.random.uniform(KEY, (4, 3)),
    "for each key": lambda: jax.vmap(jax.random.uniform)(jax.random.split(KEY, 3)),
}
ROUNDED = {
    "normal": lambda: jax.random.normal(KEY, (4, 3)),
    "truncated": lambda: jax.random.truncated_normal(KEY, -2.0, 2.0, (9,), jnp.float32),
    "orthogonal": lambda: jax.random.orthogonal(KEY, 4),
    "bfloat16": lambda: jnp.tanh(X.astype(jnp.bfloat16) @ jnp.ones((3, 2), jnp.bfloat16)),
}


@pytest.mark.usefixtures("by_xla")
@pytest.mark.parametrize("case", [*INDEXED, *DRAWN])
def test_bits_are_the_same(case):
    function = (INDEXED | DRAWN)[case]
    got, want = evaluated(function)(), jax.jit(function)()
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


@pytest.mark.usefixtures("by_xla")
@pytest.mark.parametrize("case", ROUNDED)
def test_values_are_the_same_to_rounding(case):
    got, want = evaluated(ROUNDED[case])(), jax.jit(ROUNDED[case])()
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=8 * float(jnp.finfo(want.dtype).eps), atol=1e-15)
