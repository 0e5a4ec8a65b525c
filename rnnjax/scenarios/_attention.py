"""Attention (dot-product and additive) as a combinator: a cell that attends to a memory."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_choice, check_real
from rnnjax._types import Array, Carry, Cell, Params, initial_carry
from rnnjax.scenarios._modules import apply_at_each, dense
from rnnjax.scenarios._pooling import masked_softmax

KINDS = ("dot", "additive")


class Memory(NamedTuple):
    """The memory that a decoder attends to, batch first, so that beams can be gathered."""

    keys: Array  # [B, S, A] the projected values that queries are compared with
    values: Array  # [B, S, M]
    valid: Array | None  # [B, S] False in the padding


class AttentionParams(NamedTuple):
    keys: Params  # of flax.linen.Dense, M -> A
    query: Params  # H -> A; None for dot
    score: Params  # A -> 1; None for dot


class AttentiveParams(NamedTuple):
    cell: Params
    attention: AttentionParams
    memory: Memory


class AttentiveCarry(NamedTuple):
    cell: Carry
    context: Array  # [B, M] the attention-weighted sum of values at the last step


class Attended(NamedTuple):
    features: Array  # [B, H + M] y_t beside its context
    weights: Array  # [B, S] attention weights


def init_attention(kind: str, key: Array, y: Array, value: Array) -> AttentionParams:
    """Params for outputs y [..., H] and memories [..., M]; A = H."""
    check_choice("attention", kind, KINDS)
    check_real("the decoder's output", y)
    keys = jax.random.split(key, 3)
    size = y.shape[-1]
    if kind == "dot":
        return AttentionParams(dense(size, value, bias=False).init(keys[0], value), None, None)
    return AttentionParams(
        dense(size, value).init(keys[0], value),
        dense(size, y, bias=False).init(keys[1], y),
        dense(1, y, bias=False).init(keys[2], y),
    )


def remember(kind: str, params: AttentionParams, values: Array, valid: Array | None) -> Memory:
    """A `Memory` of values [B, S, M]: the keys do not depend on the step and are projected once."""
    size = params.keys["params"]["kernel"].shape[-1]
    keys = apply_at_each(dense(size, values, bias=kind == "additive"), params.keys, values)
    return Memory(keys, values, valid)


def _scores(kind: str, params: AttentionParams, keys: Array, y: Array) -> Array:
    if kind == "dot":
        return jnp.einsum("bsa,ba->bs", keys, y) / jnp.sqrt(y.shape[-1]).astype(y.dtype)
    return _additive(params, keys, y)


@jax.checkpoint  # without it every step saves a [B, S, A], more than everything else together
def _additive(params: AttentionParams, keys: Array, y: Array) -> Array:
    query = dense(keys.shape[-1], y, bias=False).apply(params.query, y)
    return dense(1, y, bias=False).apply(params.score, jnp.tanh(keys + query[:, None]))[..., 0]


def attentive(cell: Cell, kind: str) -> Cell:
    """A cell with attention: it reads its input and the last context, then computes a new one.

        y_t = step(carry_{t-1}, [x_t, c_{t-1}])
        a_ts = softmax_s(score(y_t, m_s));   c_t = Σ_s a_ts m_s

    The memory is part of its params, so that a scan holds it once. Its output is an `Attended`.
    """

    def attentive_carry(
        params: AttentiveParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> AttentiveCarry:
        values = params.memory.values
        context = jnp.zeros((*batch_shape, values.shape[-1]), values.dtype)
        return AttentiveCarry(initial_carry(cell, params.cell, batch_shape, key), context)

    def step(params: AttentiveParams, carry: AttentiveCarry, x_t: Array) -> tuple[Carry, Any]:
        memory = params.memory
        seen = jnp.concatenate([x_t, carry.context], axis=-1)
        inner, y_t = cell.step(params.cell, carry.cell, seen)
        scores = _scores(kind, params.attention, memory.keys, y_t)
        weights = masked_softmax(scores, memory.valid, axis=-1)
        context = jnp.einsum("bs,bsm->bm", weights, memory.values)
        features = jnp.concatenate([y_t, context], axis=-1)
        return AttentiveCarry(inner, context), Attended(features, weights)

    return Cell(cell.init, attentive_carry, step)
