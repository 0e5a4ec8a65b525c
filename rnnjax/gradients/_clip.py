"""Clipping of the error δ_t inside the backward loop, for `bptt(clip=...)`."""

from dataclasses import dataclass, field

import jax.numpy as jnp

from rnnjax._calls import Value
from rnnjax._types import Array, Clip


@dataclass(frozen=True, repr=False)
class _ByValue(Value):
    limit: float
    name: str = field(default="clip_by_value", init=False)

    def __call__(self, delta: Array) -> Array:
        return jnp.clip(delta, -self.limit, self.limit)


@dataclass(frozen=True, repr=False)
class _ByNorm(Value):
    limit: float
    name: str = field(default="clip_by_norm", init=False)

    def __call__(self, delta: Array) -> Array:
        squares = jnp.sum(delta * delta, axis=-1, keepdims=True)
        over = squares > self.limit**2
        norm = jnp.sqrt(jnp.where(over, squares, 1.0))
        return jnp.where(over, delta * (self.limit / norm), delta).astype(delta.dtype)


def clip_by_value(limit: float) -> Clip:
    """Clip each component of δ_t into [-limit, limit].

    Args:
      limit: a positive number, in units of the cost per unit of pre-activation.

    References:
      Graves (2013), Generating sequences with recurrent neural networks, arXiv 1308.0850,
      section 2.1.
    """
    return _ByValue(_positive(limit))


def clip_by_norm(limit: float) -> Clip:
    """Rescale δ_t, one example at a time, so that its Euclidean norm is at most `limit`.

    The norm is taken over the pre-activations of one cell at one step. (The GRU with
    reset="before" computes δ_n ahead of δ_r and δ_z, and clips the two parts apart.)

    Args:
      limit: a positive number, in units of the cost per unit of pre-activation.

    References:
      Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural networks,
      ICML, whose clipping acts on the summed gradient: that is `optax.clip_by_global_norm`.
    """
    return _ByNorm(_positive(limit))


def _positive(limit: float) -> float:
    if not limit > 0:
        raise ValueError(f"the clipping limit must be positive, got {limit}")
    return float(limit)
