"""Pooling over time: the last, mean, sum or maximum of valid outputs, or attention."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_array, check_choice, check_real
from rnnjax._types import Array, Params
from rnnjax.running import beside_features, blank, select, zeros_like
from rnnjax.scenarios._modules import apply_at_each, dense
from rnnjax.scenarios._steps import steps_read


class Pooling(NamedTuple):
    init: Callable[[Array, Array], Params]  # (key, y [..., H]) -> params
    apply: Callable[..., Array]  # (params, ys [T, ..., H], lengths=None, *, mask=None) -> …
    weights: Callable[..., Array]  # the same -> [T, ...]; attention only


def pooled(name: str) -> Pooling:
    """Pooling over time by name: from outputs `[T, ..., H]` to one summary `[..., H]` a sequence.

    Args:
      name: "last", "mean", "sum", "max" or "attention", as in `many_to_one`. "last" is that in
        time, since what ran backwards cannot be seen from its outputs.

    Returns:
      A `Pooling` of `init(key, y) -> params` for one output y `[..., H]`, None but for attention;
      `apply(params, ys, lengths=None, *, mask=None) -> [..., H]` over the valid steps alone; and,
      for attention, `weights`, of the same arguments, `-> [T, ...]`. lengths are `[...]` or None,
      the mask is `[T, ...]` booleans, false at steps that were skipped; ys are zero in the padding,
      as `rnnjax.unroll` returns them.

    Raises:
      TypeError: complex ys for "max" and "attention", which compare them.
      ValueError: an unknown name, lengths that are not one for each sequence, or a mask that is
        not one flag for each of their steps.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax import scenarios
      >>> ys = jnp.array([[1.0], [2.0], [0.0]])[:, None]   # T = 3, B = 1, H = 1
      >>> scenarios.pooled("mean").apply(None, ys, jnp.array([2])).tolist()
      [[1.5]]
    """
    check_choice("pooling", name, (*_PLAIN, "attention"))
    if name == "attention":
        return Pooling(_init_attention, _on_valid(_attend), _on_valid(_weights))
    pool = _plain(_PLAIN[name])
    return Pooling(lambda key, y: None, pool, pool)


def _plain(pool: Callable[..., Array]) -> Callable[..., Array]:
    """`pool(ys, valid)`, without params, as `Pooling.apply`."""

    def apply(params: Params, ys: Array, valid: Array | None) -> Array:
        del params
        return pool(ys, valid) if len(ys) else jnp.zeros(ys.shape[1:], ys.dtype)

    return _on_valid(apply)


def _on_valid(pool: Callable[..., Array]) -> Callable[..., Array]:
    """`pool(params, ys, valid)` as `Pooling.apply`."""

    def apply(
        params: Params, ys: Array, lengths: Array | None = None, *, mask: Array | None = None
    ) -> Array:
        ys = check_array("ys", ys, "[T, ..., H]")
        if ys.ndim < 2:
            raise ValueError(f"ys has shape {ys.shape}: expected [T, ..., H], time first")
        valid = steps_read(ys, lengths, mask, "ys")
        return pool(params, ys if mask is None else blank(valid, ys), valid)

    return apply


def _last(ys: Array, valid: Array | None) -> Array:
    if valid is None:
        return ys[-1]
    return _at(len(valid) - 1 - jnp.argmax(valid[::-1], axis=0), ys)


def _first(ys: Array, valid: Array | None) -> Array:
    return ys[0] if valid is None else _at(jnp.argmax(valid, axis=0), ys)


def _at(step: Array, ys: Array) -> Array:
    """The output at one step [...] of each sequence, which is zero where none is valid."""
    return jnp.take_along_axis(ys, beside_features(step, ys[0])[None], axis=0)[0]


def _sum(ys: Array, valid: Array | None) -> Array:
    del valid  # outputs are zero where it is False
    return jnp.sum(ys, axis=0)


def _mean(ys: Array, valid: Array | None) -> Array:
    if valid is None:
        return jnp.mean(ys, axis=0)
    count = jnp.maximum(jnp.sum(valid, axis=0), 1)
    return jnp.sum(ys, axis=0) / beside_features(count, ys[0]).astype(ys.dtype)


def _max(ys: Array, valid: Array | None) -> Array:
    check_real("ys", ys)
    if valid is None:
        return jnp.max(ys, axis=0)
    highest = jnp.max(select(valid, ys, jnp.full_like(ys, -jnp.inf)), axis=0)
    return select(jnp.any(valid, axis=0), highest, zeros_like(highest))


_PLAIN = {"last": _last, "mean": _mean, "sum": _sum, "max": _max}
at_the_last, at_the_first = _plain(_last), _plain(_first)


class AttentionPooling(NamedTuple):
    hidden: Params  # of flax.linen.Dense: W, b
    score: Params  # of flax.linen.Dense: v


def _init_attention(key: Array, y: Array) -> AttentionPooling:
    check_real("y", y)
    key_hidden, key_score = jax.random.split(key)
    hidden = dense(y.shape[-1], y).init(key_hidden, y)
    return AttentionPooling(hidden, dense(1, y, bias=False).init(key_score, y))


def _weights(params: AttentionPooling, ys: Array, valid: Array | None) -> Array:
    check_real("ys", ys)
    z = jnp.tanh(apply_at_each(dense(ys.shape[-1], ys), params.hidden, ys))
    scores = dense(1, ys, bias=False).apply(params.score, z)[..., 0]
    return masked_softmax(scores, valid, axis=0)


def _attend(params: AttentionPooling, ys: Array, valid: Array | None) -> Array:
    weights = _weights(params, ys, valid).astype(ys.dtype)
    return jnp.sum(weights[..., None] * ys, axis=0)


def masked_softmax(scores: Array, valid: Array | None, axis: int) -> Array:
    """softmax over the valid entries, zero for the others; all zero where none is valid."""
    if valid is None:
        return jax.nn.softmax(scores, axis)
    scores = jnp.where(valid, scores, jnp.finfo(scores.dtype).min)
    return jnp.where(valid, jax.nn.softmax(scores, axis), 0.0)
