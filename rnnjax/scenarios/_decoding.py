"""Decoding with any step function: greedy, or by sampling."""

import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial

from rnnjax._checks import (
    check_callable,
    check_index,
    check_int,
    check_number,
    check_positive_int,
    check_real,
)
from rnnjax._dtypes import at_least_float32
from rnnjax._names import option
from rnnjax._random import check_key
from rnnjax._types import Array, PyTree
from rnnjax.running import select
from rnnjax.scenarios._compiling import check_step, compiled_over_steps
from rnnjax.scenarios._modules import check_tokens


class DecodingStep(Protocol):
    """The step of a decoder: `(state, token [B]) -> (state, logits [B, V])`."""

    def __call__(self, state: Any, token: Array, /) -> tuple[Any, Array]: ...


class Decoded(NamedTuple):
    tokens: Array  # [steps, B]; after the end of a sequence, `end`
    lengths: Array  # [B] words generated, the end token included
    log_probs: Array  # [B] ln of the model's probability of those words
    state: PyTree  # after the step that predicted the last word; that word has not been read yet


def greedy(
    step: DecodingStep, state: PyTree, first: Array, steps: int, *, end: int | None = None
) -> Decoded:
    """Greedy decoding: generate the most probable word at every step.

        state_t, logits_t = step(state_{t-1}, w_{t-1});   w_t = argmax logits_t

    Args:
      step: `(state, token [B]) -> (state, logits [B, V])`, such as
        `functools.partial(model.step, params)` of a `many_to_many` or a `Decoder`. A
        `functools.partial` of a pure function over arrays is compiled on first use for each
        function and shape; another step is traced and compiled at every call outside `jax.jit`.
      state: the initial state: a carry, or `model.begin(params, source)`. With `end` every leaf
        of it is `[B, ...]`, because sequences that have ended keep their state.
      first: `[B]` the start token, w_0; it is not among the returned tokens.
      steps: the maximum number of words.
      end: the end token. Decoding stops when all sequences have ended; with None, after `steps`.

    Returns:
      A `Decoded`.

    Raises:
      TypeError: first or steps not integers, or first of a dtype that cannot hold V words.
      ValueError: first without a batch axis, logits that are not `[B, V]`, an `end` that is not
        among the V words, a leaf of the state that is not batch first with `end`, or steps < 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from rnnjax import scenarios
      >>> def step(state, token):                          # after word k comes k + 1
      ...     return state, 5.0 * jax.nn.one_hot(token + 1, 6)
      >>> found = scenarios.greedy(step, None, jnp.array([0, 3]), 4, end=5)
      >>> found.tokens.T.tolist(), found.lengths.tolist()
      ([[1, 2, 3, 4], [4, 5, 5, 5]], [4, 2])
    """
    return _generate(step, state, first, steps, end, Partial(_most_probable))


def _most_probable(t: Array, logits: Array) -> Array:
    del t
    return jnp.argmax(logits, axis=-1)


def sample(
    step: DecodingStep,
    state: PyTree,
    first: Array,
    steps: int,
    key: Array,
    *,
    temperature: float | Array = 1.0,
    top_k: int | None = None,
    top_p: float | Array | None = None,
    end: int | None = None,
) -> Decoded:
    """Sampling: draw every word from the model's predictions (temperature, top-k, nucleus).

        w_t ~ softmax(logits_t / temperature), restricted to
              the top_k most probable words, then to
              the smallest set of most probable words whose probability reaches top_p (the nucleus)

    Args:
      step, state, first, steps, end: as for `greedy`.
      key: PRNG key.
      temperature: above 1 for more variety; towards 0 it becomes `greedy`.
      top_k: how many words may be drawn; None for all.
      top_p: the probability that the nucleus has to reach, in (0, 1]; None for no restriction.

    Returns:
      A `Decoded`, with the log-probabilities of the model itself: at temperature 1, unrestricted.

    Raises:
      TypeError: as `greedy`.
      ValueError: a temperature not above 0, top_k < 1, top_p outside (0, 1], and as `greedy`.

    References:
      Fan, Lewis & Dauphin (2018), Hierarchical neural story generation, ACL (top-k).
      Holtzman et al. (2020), The curious case of neural text degeneration, ICLR (nucleus).
    """
    check_key(key)
    check_sampling(temperature, top_k, top_p)
    choose = Partial(_Draw(top_k), key, temperature, top_p)
    return _generate(step, state, first, steps, end, choose)


class _Draw(NamedTuple):
    """The choice of the next word in `sample`, as a function of what may be traced."""

    top_k: int | None

    def __call__(
        self,
        key: Array,
        temperature: float | Array,
        top_p: float | Array | None,
        t: Array,
        logits: Array,
    ) -> Array:
        restricted = _restrict(_tempered(logits, temperature), self.top_k, top_p)
        return jax.random.categorical(jax.random.fold_in(key, t), restricted)


def check_sampling(
    temperature: float | Array, top_k: int | None, top_p: float | Array | None
) -> None:
    """Raise unless these options of `sample` are in range; what is traced is not checked."""
    known = not isinstance(temperature, Tracer)
    if known and not 0 < check_number("temperature", temperature) < math.inf:
        raise ValueError(
            f"{option('temperature')} must be above 0 and finite, got {temperature}: "
            f"{option('top_k', 1)} always takes the most likely"
        )
    if top_k is not None:
        check_positive_int("top_k", top_k)
    if top_p is None or isinstance(top_p, Tracer):
        return
    if not 0 < check_number("top_p", top_p) <= 1:
        raise ValueError(f"{option('top_p')} is a probability in (0, 1], got {top_p}")


def _tempered(logits: Array, temperature: float | Array) -> Array:
    """Logits / temperature, shifted to a maximum of 0: no temperature, 0 included, overflows it."""
    below = logits - jnp.max(logits, axis=-1, keepdims=True)
    return jnp.where(below == 0, below, below / temperature)


def _restrict(logits: Array, top_k: int | None, top_p: float | Array | None) -> Array:
    """Logits [B, V] with -inf for the words that may not be drawn."""
    size = logits.shape[-1]
    if top_k is None and top_p is None:
        return logits
    ranked, words = jax.lax.top_k(logits, size if top_k is None else min(top_k, size))
    if top_p is not None:
        probabilities = jax.nn.softmax(ranked, axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        ranked = jnp.where(before < top_p, ranked, -jnp.inf)
    rows = jnp.arange(len(logits))[:, None]
    return jnp.full_like(logits, -jnp.inf).at[rows, words].set(ranked)


class _Generation(NamedTuple):
    t: Array  # [] words generated so far
    state: PyTree
    token: Array  # [B] the last word
    done: Array  # [B] bool
    tokens: Array  # [steps, B]
    lengths: Array  # [B]
    log_probs: Array  # [B]


def _generate(
    step: DecodingStep, state: PyTree, first: Array, steps: int, end: int | None, choose: Partial
) -> Decoded:
    first = check_tokens("first", first, 1)
    steps = check_positive_int("steps", steps)
    check_start(step, first)
    if end is not None:
        end = check_int("end", end)
        check_batch_first(state, len(first))
    return _generated(step, choose, state, first, steps=steps, end=end)


@compiled_over_steps("steps", "end")
def _generated(
    step: DecodingStep, choose: Partial, state: PyTree, first: Array, *, steps: int, end: int | None
) -> Decoded:
    batch, dtype = first.shape, checked_dtype(step, state, first, end)

    def extend(now: _Generation) -> _Generation:
        new, logits = step(now.state, now.token)
        logits = logits.astype(dtype)
        token = choose(now.t, logits).astype(first.dtype)
        gain = jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, None], axis=-1)[:, 0]
        if end is None:
            done = now.done
        else:
            new = _held(now.done, now.state, new)
            token = jnp.where(now.done, end, token).astype(first.dtype)
            done = now.done | (token == end)
        return _Generation(
            now.t + 1,
            new,
            token,
            done,
            now.tokens.at[now.t].set(token),
            now.lengths + (~now.done).astype(now.lengths.dtype),
            now.log_probs + jnp.where(now.done, 0.0, gain),
        )

    def unfinished(now: _Generation) -> Array:
        return (now.t < steps) & ~jnp.all(now.done)

    filler = jnp.full((steps, *batch), 0 if end is None else end, first.dtype)
    begin = _Generation(
        jnp.zeros((), jnp.int32),
        state,
        first,
        jnp.zeros(batch, bool),
        filler,
        jnp.zeros(batch, jnp.int32),
        jnp.zeros(batch, dtype),
    )
    last = jax.lax.while_loop(unfinished, extend, begin)
    return Decoded(last.tokens, last.lengths, last.log_probs, last.state)


def _held(done: Array, old: PyTree, new: PyTree) -> PyTree:
    """The new state; for sequences that have ended, the old one."""
    return jax.tree.map(lambda a, b: b if a is b else select(done, a, b), old, new)


def check_batch_first(state: PyTree, batch: int) -> None:
    """Raise ValueError unless every leaf of the state is `[batch, ...]`."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        if jnp.shape(leaf)[:1] != (batch,):
            raise ValueError(
                f"state{jax.tree_util.keystr(path)} has shape {jnp.shape(leaf)}: with end= each "
                f"sequence needs a state of its own, so that one can end before another: expected "
                f"[{batch}, ...], batch first"
            )


def check_start(step: DecodingStep, first: Array) -> None:
    """Raise unless `step` is a function and `first`, where it is known, holds ids of words."""
    check_callable("step", step, "(state, token [B]) -> (state, logits [B, V])")
    if not isinstance(first, Tracer) and first.size and np.asarray(first).min() < 0:
        raise ValueError(f"first must be ids of words, from 0, got {np.asarray(first).min()}")


def checked_dtype(step: DecodingStep, state: PyTree, first: Array, end: int | None) -> jnp.dtype:
    """Validate `end` and the dtype of `first` against the logits; return that of log-probabilities.

    The dtype of `first` is that of all generated tokens, and must be able to hold V words.
    """
    found = check_step(jax.eval_shape(step, state, first), "(state, logits [B, V])")
    logits = check_real("the logits of step", found)
    batch, *rest = logits.shape or (None,)
    if batch != len(first) or len(rest) != 1:
        raise ValueError(
            f"step returns logits of shape {logits.shape}, expected [{len(first)}, V] for the "
            f"{len(first)} words of first"
        )
    if jnp.iinfo(first.dtype).max < rest[0] - 1:
        raise TypeError(
            f"first has dtype {first.dtype}, whose maximum is {jnp.iinfo(first.dtype).max}, but "
            f"step returns logits over {rest[0]} words: cast it with first.astype(int)"
        )
    if end is not None:
        check_index("end", end, rest[0], "words")
    return at_least_float32(logits)
