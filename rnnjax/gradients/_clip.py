"""Clipping of the error δ_t inside the backward loop, for `bptt(clip=...)`.

The clips are pytrees: a limit that is an array is a leaf, one that is a number part of the tree.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._calls import Call, Value
from rnnjax._checks import check_number, is_inexact
from rnnjax._dtypes import at_least_float32
from rnnjax._types import Array, Clip


@dataclass(frozen=True, repr=False)
class _Limited(Value):
    """A clip with a limit; one that is an array prints, compares and hashes as its number."""

    limit: float | Array
    name: ClassVar[str]

    def __repr__(self) -> str:
        known = not isinstance(self.limit, Tracer)
        return str(Call(self.name, (float(self.limit) if known else self.limit,)))

    def __hash__(self) -> int:
        return hash((self.name, float(self.limit)))


class _ByValue(_Limited):
    name = "clip_by_value"

    def __call__(self, delta: Array) -> Array:
        limit = _as(self.limit, delta.dtype)
        return jnp.clip(delta, -limit, limit)


class _ByNorm(_Limited):
    name = "clip_by_norm"

    def __call__(self, delta: Array) -> Array:
        wide = delta.astype(at_least_float32(delta))
        # Squares are taken of numbers up to 1: those of 256 in float16 and of 2e19 in float32 are
        # beyond the dtype. What follows does not depend on the scale.
        peak = jnp.max(jnp.abs(jax.lax.stop_gradient(wide)), axis=-1, keepdims=True, initial=0.0)
        scaled = wide / jnp.where((peak > 0) & jnp.isfinite(peak), peak, 1.0)
        squares = jnp.sum(scaled * scaled, axis=-1, keepdims=True)
        limit = _as(self.limit, peak.dtype)
        over = peak * jnp.sqrt(jax.lax.stop_gradient(squares)) > limit
        size = jnp.sqrt(jnp.where(over, squares, 1.0))
        shorter = scaled * (jnp.where(over, limit, 1.0) / size)
        return jnp.where(over, shorter, wide).astype(delta.dtype)


def _as(limit: float | Array, dtype: jnp.dtype) -> Array:
    """The limit in the dtype of the errors, infinite where it is beyond it."""
    with np.errstate(over="ignore"):
        return jnp.asarray(limit, dtype)


def _flatten(clip: _ByValue | _ByNorm) -> tuple[tuple[Any, ...], Any]:
    return ((clip.limit,), None) if isinstance(clip.limit, jax.Array) else ((), clip.limit)


for _clip in (_ByValue, _ByNorm):
    jax.tree_util.register_pytree_node(
        _clip,
        _flatten,
        lambda number, array, clip=_clip: clip(array[0] if array else number),
    )


def clip_by_value(limit: float) -> Clip:
    """Clip each component of δ_t into [-limit, limit].

    Args:
      limit: a positive number, in units of the cost per unit of pre-activation; it may be traced,
        as by a `vmap` over limits. Of an array another value compiles nothing anew.

    Raises:
      ValueError: limit is not one number, or not positive.

    References:
      Graves (2013), Generating sequences with recurrent neural networks, arXiv 1308.0850,
      section 2.1.
    """
    return _ByValue(_positive(limit))


def clip_by_norm(limit: float) -> Clip:
    """Rescale δ_t, one example at a time, so that its Euclidean norm is at most `limit`.

    The norm is taken over the pre-activations of one cell at one step. (The GRU with
    reset="before" computes δ_n ahead of δ_r and δ_z, and clips the two parts apart.) Squares are
    taken of scaled numbers, so that an error beyond 1e19 in float32 is clipped, not set to zero.

    Args:
      limit: a positive number, in units of the cost per unit of pre-activation; it may be traced,
        as by a `vmap` over limits. Of an array another value compiles nothing anew.

    Raises:
      ValueError: limit is not one number, or not positive.

    References:
      Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural networks,
      ICML, whose clipping acts on the summed gradient: that is `optax.clip_by_global_norm`.
    """
    return _ByNorm(_positive(limit))


def _positive(limit: float | Array) -> float | Array:
    if getattr(limit, "shape", ()) != ():
        raise ValueError(
            f"the clipping limit must be one number, got shape {jnp.shape(limit)}: jax.vmap over "
            "the function that makes the clip tries several"
        )
    if isinstance(limit, Tracer):
        return limit
    if not float(check_number("limit", limit)) > 0:
        raise ValueError(f"the clipping limit must be positive, got {limit}")
    is_leaf = isinstance(limit, jax.Array) and is_inexact(limit)
    return limit if is_leaf else float(limit)
