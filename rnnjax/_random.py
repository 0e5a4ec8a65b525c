"""PRNG keys in a carry, one for each example, and what is drawn from them."""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, Params, initial_carry

_THREEFRY = "threefry2x32"


def is_key(x: Any) -> bool:
    """Whether an array, or anything with a dtype, holds typed PRNG keys."""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def check_key(key: Any) -> Array:
    """`key`, if it is one PRNG key, typed or raw."""
    if not hasattr(key, "dtype") or not (
        is_key(key) or (key.dtype == jnp.uint32 and key.shape[-1:] in ((2,), (4,)))
    ):
        raise TypeError(f"key must be a PRNG key such as jax.random.key(0), got {key!r}")
    if key.ndim != (0 if is_key(key) else 1):
        raise ValueError(f"key must be one PRNG key, got keys of shape {key.shape}")
    return key


def typed_key(key: Array) -> Array:
    """A typed PRNG key from either kind of key."""
    return key if is_key(key) else jax.random.wrap_key_data(key)


def example_keys(key: Array | None, batch_shape: tuple[int, ...]) -> Array | None:
    """Threefry keys [...], one for each example, so that carries freeze and restart one by one.

    A mapped draw by one of them is the draw by it alone, whatever else is in the batch or run at
    once. By keys of other kinds, such as "rbg", it need not be.
    """
    if key is None:
        return None
    one = typed_key(key)
    if str(jax.random.key_impl(one)) != _THREEFRY:
        one = jax.random.wrap_key_data(jax.random.bits(one, (2,), jnp.uint32), impl=_THREEFRY)
    return jax.random.split(one, batch_shape)


def carry_form(
    cell: Cell, params: Params, batch_shape: tuple[int, ...], carry: Carry, plain: Carry
) -> Carry:
    """The form of the cell's carries that `carry` has: that with keys in it, or else `plain`, which
    `initial_carry` makes without a key."""
    held = jax.tree.structure(carry)
    if held == jax.tree.structure(plain):
        return plain
    training = carry_with_keys(cell, params, batch_shape, carry)
    return training if held == jax.tree.structure(training) else plain


def carry_with_keys(cell: Cell, params: Params, batch_shape: tuple[int, ...], like: Carry) -> Carry:
    """The form of the carry that a key makes, with keys of the kind that `like` has.

    A user's cell that takes no key has no such form: its carry without one.
    """
    leaves = (leaf for leaf in jax.tree.leaves(like) if hasattr(leaf, "dtype"))
    keys = [*filter(is_key, leaves)] or [jax.random.key(0)]
    key = jax.ShapeDtypeStruct((), keys[0].dtype)
    return jax.eval_shape(lambda p, k: initial_carry(cell, p, batch_shape, k), params, key)


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
