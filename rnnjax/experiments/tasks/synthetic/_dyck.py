"""Dyck languages: balanced brackets."""

import math
from functools import partial
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_positive_int
from rnnjax._names import option
from rnnjax._types import Array
from rnnjax.experiments._fields import with_checked_options
from rnnjax.experiments.tasks._options import (
    BatchSize,
    CellOption,
    ClipInLoop,
    Hidden,
    Layers,
    TestSize,
    make_cell,
)
from rnnjax.experiments.tasks._sequences import Sequences, next_symbol_sets, one_hot
from rnnjax.experiments.tasks._task import Metric, Recipe, Task
from rnnjax.experiments.tasks.synthetic._build import build
from rnnjax.scenarios import valid_steps


@with_checked_options
def dyck(
    *,
    cell: CellOption = "lstm",
    hidden: Hidden = 16,
    layers: Layers = 1,
    kinds: Annotated[int, "Kinds of brackets: one needs a counter, several need a stack."] = 1,
    max_length: Annotated[int, "Longest string in training."] = 50,
    test_length: Annotated[int, "Longest test string."] = 100,
    batch_size: BatchSize = 64,
    test_size: TestSize = 500,
    clip_in_loop: ClipInLoop = None,
) -> Task:
    """Next-symbol prediction in Dyck languages, the strings of balanced brackets.

        x_t one-hot of the 2K brackets ( [ … ) ];   d_t = #opened - #closed up to t
        y_t = all K opening brackets, and if d_t > 0 the one that closes the last opened

    Lengths are uniform on 2, 4, … `max_length`, and strings of the same length are equally likely:
    at depth d with r brackets left, the next bracket opens with probability
    (d + 2)(r - d) / (2r (d + 1)). Its kind is uniform. One kind requires a counter; two or more
    require a stack.

    Metric: the share of strings of `max_length` + 2 … `test_length` in which every step is
    right; `accuracy` is for the training lengths. The memoryless baseline predicts a closing
    bracket after an opening one only: it is right only on ()()(), one of the strings of its length.

    Args:
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer.
      layers: number of stacked layers.
      kinds: K.
      max_length: longest string in training; even.
      test_length: longest test string; even, and longer.
      batch_size: strings per training batch.
      test_size: number of test strings.
      clip_in_loop: limit of each component of ∂C/∂z_t inside the backward loop, as by
        `rnnjax.bptt(clip=clip_by_value(limit))`; without it the exact gradient.

    Returns:
      A `Task`.

    Raises:
      ValueError: an unknown cell, lengths that are odd or in the wrong order, or a number
        below 1.

    Example:
      >>> from rnnjax.experiments.tasks import dyck
      >>> batch = dyck(max_length=6, test_length=8).batches(0)[0]
      >>> brackets = batch.xs[:, 0].argmax(-1)[: batch.lengths[0]]   # 0 opens, 1 closes
      >>> int((1 - 2 * brackets).sum())
      0

    References:
      Suzgun, Gehrmann, Belinkov & Shieber (2019), LSTM networks can perform dynamic counting,
      ACL workshop on deep learning and formal languages.
    """
    check_positive_int("kinds", kinds)
    for name, value in (("max_length", max_length), ("test_length", test_length)):
        if check_positive_int(name, value) % 2:
            raise ValueError(f"{option(name)} must be even, got {value}: brackets come in pairs")
    if test_length <= max_length:
        raise ValueError(
            f"{option('test_length')} must exceed {option('max_length')} = {max_length}, got "
            f"{test_length}"
        )
    check_positive_int("test_size", test_size)
    short = partial(_draw, kinds=kinds, shortest=2, longest=max_length)
    long = partial(_draw, kinds=kinds, shortest=max_length + 2, longest=test_length)
    return build(
        "dyck",
        make_cell(cell, hidden, layers),
        partial(short, batch=check_positive_int("batch_size", batch_size)),
        next_symbol_sets(),
        outputs=2 * kinds,
        tests={"": partial(short, batch=test_size), "_long": partial(long, batch=test_size)},
        metric=Metric("accuracy_long", "max"),
        recipe=Recipe(steps=3000, learning_rate=1e-2),
        clip_in_loop=clip_in_loop,
        baselines={"memoryless": _flat_share(max_length + 2, test_length)},
    )


class _State(NamedTuple):
    depth: Array  # [B]
    stack: Array  # [B, S] kinds of the open brackets


def _draw(key: Array, batch: int, kinds: int, shortest: int, longest: int) -> Sequences:
    key_lengths, key_steps = jax.random.split(key)
    lengths = 2 * jax.random.randint(key_lengths, (batch,), shortest // 2, longest // 2 + 1)
    rows = jnp.arange(batch)

    def step(state: _State, inputs: tuple[Array, Array]) -> tuple[_State, tuple[Array, Array]]:
        t, key_t = inputs
        key_opens, key_kind = jax.random.split(key_t)
        depth, left = state.depth, lengths - t
        chance = (depth + 2) * (left - depth) / (2 * jnp.maximum(left, 1) * (depth + 1))
        opens = jax.random.uniform(key_opens, (batch,)) < chance
        new = jax.random.randint(key_kind, (batch,), 0, kinds)
        top = state.stack[rows, jnp.maximum(depth - 1, 0)]
        stack = state.stack.at[rows, depth].set(
            jnp.where(opens, new, state.stack[rows, depth]), mode="drop"
        )
        depth = jnp.maximum(depth + jnp.where(opens, 1, -1), 0)  # below zero in the padding
        inner = stack[rows, jnp.maximum(depth - 1, 0)]
        closing = one_hot(inner, kinds) * (depth > 0)[:, None]
        symbol = jnp.where(opens, new, kinds + top)
        return _State(depth, stack), (symbol, jnp.concatenate([jnp.ones_like(closing), closing], 1))

    start = _State(jnp.zeros((batch,), int), jnp.zeros((batch, longest // 2), int))
    steps = (jnp.arange(longest), jax.random.split(key_steps, longest))
    _, (symbols, targets) = jax.lax.scan(step, start, steps)
    valid = valid_steps(lengths, longest)
    xs = one_hot(symbols, 2 * kinds) * valid[..., None]
    return Sequences(xs, targets, lengths, valid)


def _flat_share(shortest: int, longest: int) -> float:
    """The share of ()()…() among balanced strings: 1 / Catalan(n), averaged over the lengths."""
    pairs = range(shortest // 2, longest // 2 + 1)
    return sum((n + 1) / math.comb(2 * n, n) for n in pairs) / len(pairs)
