"""Blanks in training: bands of frequency and stretches of time."""

import jax
import jax.numpy as jnp

from rnnjax._types import Array


def blanked(
    key: Array, xs: Array, lengths: Array, filters: int, *, band: float = 0.2, stretch: float = 0.15
) -> Array:
    """Features with one band of frequencies and one stretch of time at zero in each sequence.

    Zero is the mean of standardised features. Widths are uniform on 0 … band · filters and
    0 … stretch · length, places uniform on where they fit.

    Args:
      key: PRNG key.
      xs: `[T, B, k · filters]`, k frames a step.
      lengths: `[B]`.
      filters: features of one frame.
      band, stretch: largest shares.

    References:
      Park et al. (2019), SpecAugment: a simple data augmentation method for automatic speech
      recognition, Interspeech.
    """
    steps, batch, features = xs.shape
    key_band, key_stretch = jax.random.split(key)
    heights = jnp.full((batch,), filters)
    in_band = _span(key_band, filters, heights, band)  # [F, B]
    in_band = jnp.tile(in_band.T, (1, features // filters))[None]  # [1, B, k F]
    in_stretch = _span(key_stretch, steps, lengths, stretch)[..., None]  # [T, B, 1]
    return jnp.where(in_band | in_stretch, 0, xs)


def _span(key: Array, size: int, lengths: Array, share: float) -> Array:
    """`[size, B]`, true in one random span within each length."""
    width, place = jax.random.uniform(key, (2, *lengths.shape))
    width = jnp.floor(width * (jnp.floor(share * lengths) + 1))
    first = jnp.floor(place * (lengths - width + 1))
    at = jnp.arange(size)[:, None]
    return (at >= first[None]) & (at < (first + width)[None])
