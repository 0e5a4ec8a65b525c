"""What a decoder sees of a picture: a map of features, or one feature."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax._types import Array

_MAP = 8  # the largest side of a feature map


class Convolutions(nn.Module):
    """Pictures [B, S, S, 3] uint8 to a map [P, B, M] of P = p² positions, or to one [B, M].

    Two streams, form from the brightest of the three colours of each pixel, and colour from all:

    x ← relu(norm(conv3x3(x))),   every second pixel once, and while the side is above 8;
                                  then twice more, all pixels
    map:      m_p = x_p + e_p,    x_p of both streams, with e learned: where in the picture p is
    feature:  f = relu(x W + b),  over all positions and both streams

    In training the colour stream is zero for a share of the pictures, `color_dropout`. A net that
    must tell shapes without their colours does not learn them as pairs.

    Neverova, Wolf, Taylor & Nebout (2016), ModDrop: adaptive multi-modal gesture recognition,
    IEEE TPAMI 38 (dropping whole channels).
    """

    features: int  # M, of which a quarter are the colour stream's
    as_map: bool
    color_dropout: float = 0.0

    @nn.compact
    def __call__(self, pictures: Array) -> Array:
        dtype: Any = jnp.result_type(float)
        x = jnp.asarray(pictures, dtype) / 128 - 1
        of_color = max(1, self.features // 4)
        form = self._stream(jnp.max(x, axis=-1, keepdims=True), max(1, self.features - of_color))
        color = self._stream(x, of_color)
        if self.color_dropout and self.has_rng("dropout"):
            shape = (len(x), 1, 1, 1)
            hidden = jax.random.bernoulli(self.make_rng("dropout"), self.color_dropout, shape)
            color = jnp.where(hidden, 0, color)
        x = jnp.concatenate([form, color], axis=-1)
        if not self.as_map:
            return nn.relu(nn.Dense(self.features, param_dtype=dtype)(x.reshape(len(x), -1)))
        return _placed(self, x.reshape(len(x), -1, x.shape[-1]))

    def _stream(self, x: Array, features: int) -> Array:
        dtype: Any = jnp.result_type(float)
        strides = [2] * max(1, -(-x.shape[1] // _MAP) - 1).bit_length() + [1, 1]
        for layer, stride in enumerate(strides):
            channels = -(-features // 2) if layer == 0 else features
            x = nn.Conv(channels, (3, 3), (stride, stride), param_dtype=dtype)(x)
            x = nn.relu(nn.GroupNorm(num_groups=1, param_dtype=dtype)(x))
        return x


class GivenMap(nn.Module):
    """Given maps [B, P, F] or [B, h, w, F] to [P, B, M]: m_p = relu(x_p W + b) + e_p."""

    features: int

    @nn.compact
    def __call__(self, given: Array) -> Array:
        dtype: Any = jnp.result_type(float)
        x = jnp.asarray(given, dtype).reshape(given.shape[0], -1, given.shape[-1])
        return _placed(self, nn.relu(nn.Dense(self.features, param_dtype=dtype)(x)))


class GivenFeature(nn.Module):
    """Given features [B, ...] to one [B, M]: f = relu(x W + b)."""

    features: int

    @nn.compact
    def __call__(self, given: Array) -> Array:
        dtype: Any = jnp.result_type(float)
        x = jnp.asarray(given, dtype).reshape(given.shape[0], -1)
        return nn.relu(nn.Dense(self.features, param_dtype=dtype)(x))


def _placed(module: nn.Module, x: Array) -> Array:
    """A map [B, P, M] with a learned vector added at each position, positions first."""
    start = nn.initializers.normal(0.3)
    places = module.param("places", start, x.shape[1:], jnp.result_type(float))
    return (x + places[None]).swapaxes(0, 1)
