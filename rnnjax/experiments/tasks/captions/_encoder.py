"""Image encoders: a feature map to attend to, or one feature vector."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from rnnjax._dtypes import standard_promotion
from rnnjax._types import Array

_MAP = 8  # the largest side of a feature map


def _promoting(call: Callable[..., Array]) -> Callable[..., Array]:
    """`call` in JAX's standard promotion: pictures stay as they are, params may be narrower."""

    @wraps(call)
    def promote(*arguments: Any) -> Array:
        with standard_promotion():
            return call(*arguments)

    return promote


class Convolutions(nn.Module):
    """A CNN: pictures [B, S, S, 3] uint8 to a map [P, B, M] of P = p² positions, or to [B, M].

    x ← relu(norm(conv3x3(x))),   stride 2 once and while the side is above 8, then stride 1
    map:      m_p = x_p + e_p,    with e a learned position embedding
    feature:  f = relu(x W + b),  over all positions
    """

    features: int  # M
    as_map: bool

    @nn.compact
    @_promoting
    def __call__(self, pictures: Array) -> Array:
        dtype: Any = jnp.result_type(float)
        x = jnp.asarray(pictures, dtype) / 128 - 1
        side, layer = x.shape[1], 0
        strides = [2] * max(1, -(-side // _MAP) - 1).bit_length() + [1]
        for layer, stride in enumerate(strides):
            channels = self.features // 2 if layer == 0 else self.features
            x = nn.Conv(channels, (3, 3), (stride, stride), param_dtype=dtype)(x)
            x = nn.relu(nn.GroupNorm(num_groups=1, param_dtype=dtype)(x))
        if not self.as_map:
            return nn.relu(nn.Dense(self.features, param_dtype=dtype)(x.reshape(len(x), -1)))
        return _placed(self, x.reshape(len(x), -1, x.shape[-1]))


class GivenMap(nn.Module):
    """Precomputed maps [B, P, F] or [B, h, w, F] to [P, B, M]: m_p = relu(x_p W + b) + e_p."""

    features: int

    @nn.compact
    @_promoting
    def __call__(self, given: Array) -> Array:
        dtype: Any = jnp.result_type(float)
        x = jnp.asarray(given, dtype).reshape(given.shape[0], -1, given.shape[-1])
        return _placed(self, nn.relu(nn.Dense(self.features, param_dtype=dtype)(x)))


class GivenFeature(nn.Module):
    """Precomputed features [B, ...] to [B, M]: f = relu(x W + b)."""

    features: int

    @nn.compact
    @_promoting
    def __call__(self, given: Array) -> Array:
        dtype: Any = jnp.result_type(float)
        x = jnp.asarray(given, dtype).reshape(given.shape[0], -1)
        return nn.relu(nn.Dense(self.features, param_dtype=dtype)(x))


def _placed(module: nn.Module, x: Array) -> Array:
    """A map [B, P, M] plus a learned position embedding, positions first."""
    start = nn.initializers.normal(0.02)
    places = module.param("places", start, x.shape[1:], jnp.result_type(float))
    return (x + places[None]).swapaxes(0, 1)
