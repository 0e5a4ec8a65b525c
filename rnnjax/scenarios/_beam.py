"""Batched beam search."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from rnnjax._checks import check_int, check_number, check_positive_int
from rnnjax._types import Array, PyTree
from rnnjax.running import select
from rnnjax.scenarios._compiling import compiled_over_steps
from rnnjax.scenarios._decoding import (
    Decoded,
    DecodingStep,
    check_batch_first,
    check_start,
    checked_dtype,
)
from rnnjax.scenarios._modules import check_tokens


class _Best(NamedTuple):
    """The best finished sequence of each example so far."""

    score: Array  # [B]
    tokens: Array  # [steps, B]
    length: Array  # [B]
    log_prob: Array  # [B]
    state: PyTree  # [B, ...]


class _Search(NamedTuple):
    t: Array  # []
    state: PyTree  # [B * K, ...]
    token: Array  # [B * K] the last token of each beam
    tokens: Array  # [steps, B, K]
    log_probs: Array  # [B, K] of the beams, descending; -inf where there is no beam
    best: _Best


def beam_search(
    step: DecodingStep,
    state: PyTree,
    first: Array,
    steps: int,
    *,
    end: int,
    beams: int = 4,
    length_penalty: float | Array = 0.0,
) -> Decoded:
    """Beam search: the best-scoring sequence, keeping the `beams` best partial sequences.

        score(w_1 … w_n) = ln p(w_1 … w_n) / ((5 + n) / 6)^α

    over the sequences that end with `end` after n ≤ steps words, and those that have not ended
    after `steps`. At every step each of the `beams` partial sequences is extended by every word.
    Extensions that end and are among the `beams` most probable are finished, and compared by score;
    the `beams` most probable of the others are kept. The search stops when no partial sequence can
    beat the best finished one. With one beam and α = 0 this is `greedy`; with enough beams to
    keep every partial sequence it is exact.

    Args:
      step, state, first, steps: as for `greedy`; every leaf of the state is `[B, ...]`, and so
        is what `step` does with each of them.
      end: the end token.
      beams: the beam width K, the number of partial sequences that are kept.
      length_penalty: α ≥ 0. At 0 the most probable sequence wins; larger values favour longer
        ones.

    Returns:
      A `Decoded` with the best sequence of each example.

    Raises:
      TypeError: first, steps or beams not integers.
      ValueError: beams < 1, length_penalty < 0, a leaf of the state that is not batch first, and
        as `greedy`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from rnnjax import scenarios
      >>> def step(state, token):                          # after word k comes k + 1
      ...     return state, 5.0 * jax.nn.one_hot(token + 1, 6)
      >>> found = scenarios.beam_search(step, None, jnp.array([0, 3]), 6, end=5, beams=3)
      >>> found.tokens.T.tolist(), found.lengths.tolist()
      ([[1, 2, 3, 4, 5, 5], [4, 5, 5, 5, 5, 5]], [5, 2])

    References:
      Graves (2012), Sequence transduction with recurrent neural networks, arXiv 1211.3711.
      Wu et al. (2016), Google's neural machine translation system, arXiv 1609.08144 (the
      penalty).
    """
    first = check_tokens("first", first, 1)
    steps, beams = check_positive_int("steps", steps), check_positive_int("beams", beams)
    if not isinstance(length_penalty, Tracer):
        penalized = check_number("length_penalty", length_penalty)
        if not 0 <= penalized < math.inf:
            raise ValueError(f"length_penalty must be at least 0 and finite, got {penalized}")
    if end is None:
        raise TypeError(
            "end is None: a beam search compares sequences that end, pass the end token"
        )
    end = check_int("end", end)
    check_start(step, first)
    check_batch_first(state, len(first))
    return _searched(step, state, first, length_penalty, steps=steps, end=end, beams=beams)


@compiled_over_steps("steps", "end", "beams")
def _searched(
    step: DecodingStep,
    state: PyTree,
    first: Array,
    length_penalty: float | Array,
    *,
    steps: int,
    end: int,
    beams: int,
) -> Decoded:
    dtype = checked_dtype(step, state, first, end)

    def penalty(length: Any) -> Array:
        return ((5.0 + jnp.asarray(length, dtype)) / 6.0) ** jnp.asarray(length_penalty, dtype)

    def extend(now: _Search) -> _Search:
        return _extend(now, step, end, beams, penalty)

    def unfinished(now: _Search) -> Array:
        bound = now.log_probs[:, 0] / penalty(steps)  # log-probabilities only fall
        return (now.t < steps) & jnp.any(~(bound <= now.best.score))  # NaN is not finished

    found = jax.lax.while_loop(unfinished, extend, _begin(state, first, steps, end, beams, dtype))
    partial = _Best(
        found.log_probs[:, 0] / penalty(steps),
        found.tokens[:, :, 0],
        jnp.full(first.shape, steps, jnp.int32),
        found.log_probs[:, 0],
        jax.tree.map(lambda leaf: leaf[::beams], found.state),
    )
    best = _better(found.best, partial)  # after an early stop no partial sequence wins
    return Decoded(best.tokens, best.length, best.log_prob, best.state)


def _begin(
    state: PyTree, first: Array, steps: int, end: int, beams: int, dtype: jnp.dtype
) -> _Search:
    batch = len(first)
    log_probs = (
        jnp.full((batch, beams), -jnp.inf, dtype).at[:, 0].set(0)
    )  # a single, empty sequence
    filler = jnp.full((steps, batch, beams), end, first.dtype)
    score = jnp.full(batch, -jnp.inf, dtype)
    best = _Best(score, filler[:, :, 0], jnp.zeros(batch, jnp.int32), score, state)
    token, states = jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), (first, state))
    return _Search(jnp.zeros((), jnp.int32), states, token, filler, log_probs, best)


def _extend(
    now: _Search,
    step: DecodingStep,
    end: int,
    beams: int,
    penalty: Callable[[Any], Array],
) -> _Search:
    new, logits = step(now.state, now.token)
    batch, size = len(now.log_probs), logits.shape[-1]
    gains = jax.nn.log_softmax(logits.astype(now.log_probs.dtype)).reshape(batch, beams, size)
    scores = (now.log_probs[:, :, None] + gains).reshape(batch, beams * size)
    # Each beam has a single extension that ends, so the best 2K include K that do not.
    scores, index = jax.lax.top_k(scores, min(2 * beams, beams * size))
    parent, word = index // size, (index % size).astype(now.token.dtype)
    ends = word == end

    def chosen(rows: Array) -> tuple[Array, Array, PyTree]:
        """Log-probabilities, tokens and states of candidates rows [B, k] of the 2K."""
        above, last, values = (jnp.take_along_axis(a, rows, axis=1) for a in (parent, word, scores))
        tokens = jnp.take_along_axis(now.tokens, above[None], axis=2).at[now.t].set(last)
        flat = (jnp.arange(batch, dtype=above.dtype)[:, None] * beams + above).reshape(-1)
        return values, tokens, flat

    may_end = ends & (scores != -jnp.inf) & (jnp.arange(ends.shape[1]) < beams)[None]
    row = jnp.argmax(jnp.where(may_end, scores, -jnp.inf), axis=1)[:, None]
    log_prob, tokens, flat = chosen(row)
    log_prob = jnp.where(jnp.any(may_end, axis=1), log_prob[:, 0], -jnp.inf)
    ended = _Best(
        log_prob / penalty(now.t + 1),
        tokens[:, :, 0],
        jnp.full(batch, now.t + 1, jnp.int32),
        log_prob,
        _rows(flat, now.state, new, now.best.state),
    )
    live, rows = jax.lax.top_k(jnp.where(ends, -jnp.inf, scores), beams)
    _, tokens, flat = chosen(rows)
    state = _rows(flat, now.state, new, now.state)
    return _Search(
        now.t + 1, state, tokens[now.t].reshape(-1), tokens, live, _better(now.best, ended)
    )


def _rows(flat: Array, old: PyTree, new: PyTree, unchanged: PyTree) -> PyTree:
    """Rows of the new state; leaves that the step did not change are the same for all beams."""
    return jax.tree.map(lambda a, b, c: c if a is b else b[flat], old, new, unchanged)


def _better(best: _Best, other: _Best) -> _Best:
    """The sequence with the higher score, example by example; NaN wins, so as not to be hidden."""
    wins = ~(other.score <= best.score)

    def pick(a: Array, b: Array) -> Array:
        return a if a is b else select(wins, b, a)

    tokens = jnp.where(wins[None], other.tokens, best.tokens)
    state = jax.tree.map(pick, best.state, other.state)
    score, length, log_prob = (
        pick(getattr(best, name), getattr(other, name)) for name in ("score", "length", "log_prob")
    )
    return _Best(score, tokens, length, log_prob, state)
