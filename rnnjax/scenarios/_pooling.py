"""Pooling over time: the last, mean, sum or maximum of valid outputs, or attention."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_choice
from rnnjax._types import Array, Params
from rnnjax.running import select, zeros_like
from rnnjax.scenarios._losses import valid_steps
from rnnjax.scenarios._modules import dense


class Pooling(NamedTuple):
    init: Callable[[Array, Array], Params]  # (key, y [..., H]) -> params
    apply: Callable[..., Array]  # (params, ys [T, ..., H], lengths [...] or None) -> [..., H]
    weights: Callable[..., Array]  # the same -> [T, ...]; attention only


def pooled(name: str) -> Pooling:
    """Pooling over time by name: from outputs `[T, ..., H]` to one summary `[..., H]` a sequence.

    Args:
      name: "last", "mean", "sum", "max" or "attention", as in `many_to_one`.

    Returns:
      A `Pooling` of `init(key, y) -> params` for one output y `[..., H]`, None but for attention;
      `apply(params, ys, lengths) -> [..., H]` over the valid steps alone; and, for attention,
      `weights(params, ys, lengths) -> [T, ...]`. lengths are `[...]` or None; ys are zero in the
      padding, as `rnnjax.unroll` returns them.

    Raises:
      ValueError: an unknown name.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax import scenarios
      >>> ys = jnp.array([[1.0], [2.0], [0.0]])[:, None]   # T = 3, B = 1, H = 1
      >>> scenarios.pooled("mean").apply(None, ys, jnp.array([2])).tolist()
      [[1.5]]
    """
    check_choice("pooling", name, (*_PLAIN, "attention"))
    if name == "attention":
        return Pooling(_init_attention, _attend, _weights)
    pool = _PLAIN[name]

    def apply(params: Params, ys: Array, lengths: Array | None) -> Array:
        del params
        if ys.shape[0] == 0:
            return jnp.zeros(ys.shape[1:], ys.dtype)
        return pool(ys, lengths)

    return Pooling(lambda key, y: None, apply, apply)


def _last(ys: Array, lengths: Array | None) -> Array:
    if lengths is None:
        return ys[-1]
    last = jnp.maximum(lengths - 1, 0)[
        None, ..., None
    ]  # without steps: the first output, which is zero
    return jnp.take_along_axis(ys, last, axis=0)[0]


def _sum(ys: Array, lengths: Array | None) -> Array:
    del lengths  # outputs are zero in the padding
    return jnp.sum(ys, axis=0)


def _mean(ys: Array, lengths: Array | None) -> Array:
    if lengths is None:
        return jnp.mean(ys, axis=0)
    return jnp.sum(ys, axis=0) / jnp.maximum(lengths, 1)[..., None].astype(ys.dtype)


def _max(ys: Array, lengths: Array | None) -> Array:
    if lengths is None:
        return jnp.max(ys, axis=0)
    valid = valid_steps(lengths, ys.shape[0])
    highest = jnp.max(select(valid, ys, jnp.full_like(ys, -jnp.inf)), axis=0)
    return select(lengths > 0, highest, zeros_like(highest))


_PLAIN = {"last": _last, "mean": _mean, "sum": _sum, "max": _max}


class AttentionPooling(NamedTuple):
    hidden: Params  # of flax.linen.Dense: W, b
    score: Params  # of flax.linen.Dense: v


def _init_attention(key: Array, y: Array) -> AttentionPooling:
    key_hidden, key_score = jax.random.split(key)
    hidden = dense(y.shape[-1]).init(key_hidden, y)
    return AttentionPooling(hidden, dense(1, bias=False).init(key_score, y))


def _weights(params: AttentionPooling, ys: Array, lengths: Array | None) -> Array:
    z = jnp.tanh(dense(ys.shape[-1]).apply(params.hidden, ys))
    scores = dense(1, bias=False).apply(params.score, z)[..., 0]
    valid = None if lengths is None else valid_steps(lengths, ys.shape[0])
    return masked_softmax(scores, valid, axis=0)


def _attend(params: AttentionPooling, ys: Array, lengths: Array | None) -> Array:
    weights = _weights(params, ys, lengths).astype(ys.dtype)
    return jnp.sum(weights[..., None] * ys, axis=0)


def masked_softmax(scores: Array, valid: Array | None, axis: int) -> Array:
    """softmax over the valid entries, zero for the others; all zero where none is valid."""
    if valid is None:
        return jax.nn.softmax(scores, axis)
    scores = jnp.where(valid, scores, jnp.finfo(scores.dtype).min)
    return jnp.where(valid, jax.nn.softmax(scores, axis), 0)
