"""Pooling over time: the last, mean, sum or maximum of valid outputs, or attention."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_array, check_choice, check_lengths, check_real
from rnnjax._types import Array, Params
from rnnjax.running import select, within, zeros_like
from rnnjax.scenarios._modules import apply_at_each, dense


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
      TypeError: complex ys for "max" and "attention", which compare them.
      ValueError: an unknown name, or lengths that are not one for each sequence.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax import scenarios
      >>> ys = jnp.array([[1.0], [2.0], [0.0]])[:, None]   # T = 3, B = 1, H = 1
      >>> scenarios.pooled("mean").apply(None, ys, jnp.array([2])).tolist()
      [[1.5]]
    """
    check_choice("pooling", name, (*_PLAIN, "attention"))
    if name == "attention":
        return Pooling(_init_attention, _on_checked(_attend), _on_checked(_weights))
    pool = _PLAIN[name]

    def apply(params: Params, ys: Array, lengths: Array | None) -> Array:
        del params
        if ys.shape[0] == 0:
            return jnp.zeros(ys.shape[1:], ys.dtype)
        return pool(ys, lengths)

    return Pooling(lambda key, y: None, _on_checked(apply), _on_checked(apply))


def _on_checked(pool: Callable[..., Array]) -> Callable[..., Array]:
    def apply(params: Params, ys: Array, lengths: Array | None) -> Array:
        ys = check_array("ys", ys, "[T, ..., H]")
        if ys.ndim < 2:
            raise ValueError(f"ys has shape {ys.shape}: expected [T, ..., H], time first")
        if lengths is not None:
            lengths = check_array("lengths", lengths, "[...] of integers, one for each sequence")
            lengths = check_lengths(lengths, ys.shape[0], ys.shape[1 : 1 + lengths.ndim])
        return pool(params, ys, lengths)

    return apply


def _last(ys: Array, lengths: Array | None) -> Array:
    if lengths is None:
        return ys[-1]
    last = jnp.maximum(lengths - 1, 0)  # without steps: the first output, which is zero
    return jnp.take_along_axis(ys, _beside_features(last, ys[0])[None], axis=0)[0]


def _sum(ys: Array, lengths: Array | None) -> Array:
    del lengths  # outputs are zero in the padding
    return jnp.sum(ys, axis=0)


def _mean(ys: Array, lengths: Array | None) -> Array:
    if lengths is None:
        return jnp.mean(ys, axis=0)
    return jnp.sum(ys, axis=0) / _beside_features(jnp.maximum(lengths, 1), ys[0]).astype(ys.dtype)


def _beside_features(lengths: Array, y: Array) -> Array:
    """`lengths [...]` with an axis of size 1 for each feature axis of one output y [..., *H]."""
    return lengths.reshape(lengths.shape + (1,) * (y.ndim - lengths.ndim))


def _max(ys: Array, lengths: Array | None) -> Array:
    check_real("ys", ys)
    if lengths is None:
        return jnp.max(ys, axis=0)
    valid = within(lengths, ys.shape[0])
    highest = jnp.max(select(valid, ys, jnp.full_like(ys, -jnp.inf)), axis=0)
    return select(lengths > 0, highest, zeros_like(highest))


_PLAIN = {"last": _last, "mean": _mean, "sum": _sum, "max": _max}


class AttentionPooling(NamedTuple):
    hidden: Params  # of flax.linen.Dense: W, b
    score: Params  # of flax.linen.Dense: v


def _init_attention(key: Array, y: Array) -> AttentionPooling:
    check_real("y", y)
    key_hidden, key_score = jax.random.split(key)
    hidden = dense(y.shape[-1], y).init(key_hidden, y)
    return AttentionPooling(hidden, dense(1, y, bias=False).init(key_score, y))


def _weights(params: AttentionPooling, ys: Array, lengths: Array | None) -> Array:
    check_real("ys", ys)
    z = jnp.tanh(apply_at_each(dense(ys.shape[-1], ys), params.hidden, ys))
    scores = dense(1, ys, bias=False).apply(params.score, z)[..., 0]
    valid = None if lengths is None else within(lengths, ys.shape[0])
    return masked_softmax(scores, valid, axis=0)


def _attend(params: AttentionPooling, ys: Array, lengths: Array | None) -> Array:
    weights = _weights(params, ys, lengths).astype(ys.dtype)
    return jnp.sum(weights[..., None] * ys, axis=0)


def masked_softmax(scores: Array, valid: Array | None, axis: int) -> Array:
    """softmax over the valid entries, zero for the others; all zero where none is valid."""
    if valid is None:
        return jax.nn.softmax(scores, axis)
    scores = jnp.where(valid, scores, jnp.finfo(scores.dtype).min)
    return jnp.where(valid, jax.nn.softmax(scores, axis), 0.0)
