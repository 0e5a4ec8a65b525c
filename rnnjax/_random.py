"""PRNG keys in a carry, one for each example, and what is drawn from them."""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._types import Array


def is_key(x: Any) -> bool:
    """Whether an array, or anything with a dtype, holds typed PRNG keys."""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def check_key(key: Any) -> Array:
    """`key`, if it is a PRNG key, typed or raw."""
    known = hasattr(key, "dtype") and (
        is_key(key) or (key.dtype == jnp.uint32 and jnp.shape(key)[-1:] in ((2,), (4,)))
    )
    if not known:
        raise TypeError(f"key must be a PRNG key such as jax.random.key(0), got {key!r}")
    return key


def typed_key(key: Array) -> Array:
    """A typed PRNG key from either kind of key."""
    return key if is_key(key) else jax.random.wrap_key_data(key)


def example_keys(key: Array | None, batch_shape: tuple[int, ...]) -> Array | None:
    """Keys [...], one for each example, so that carries freeze and restart one by one."""
    return None if key is None else jax.random.split(typed_key(key), batch_shape)


def next_keys(keys: Array) -> tuple[Array, Array]:
    """Split every key [...] in two: the keys to carry on, and those to use now."""
    halves = jax.random.split
    for _ in range(keys.ndim):
        halves = jax.vmap(halves)
    both = halves(keys)
    return both[..., 0], both[..., 1]


def keep_mask(keys: Array, rate: float, shape: tuple[int, ...]) -> Array:
    """[..., *shape] booleans, true with probability 1 - rate, from keys [...]."""

    def draw(key: Array) -> Array:
        return jax.random.bernoulli(key, 1 - rate, shape)

    for _ in range(keys.ndim):
        draw = jax.vmap(draw)
    return draw(keys)


def normal(keys: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """[..., *shape] standard normal numbers from keys [...]."""

    def draw(key: Array) -> Array:
        return jax.random.normal(key, shape, dtype)

    for _ in range(keys.ndim):
        draw = jax.vmap(draw)
    return draw(keys)
