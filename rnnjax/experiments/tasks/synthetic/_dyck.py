"""Balanced brackets."""

import math
from functools import partial
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_positive_int
from rnnjax._types import Array
from rnnjax.experiments.tasks._options import (
    BatchSize,
    CellOption,
    ClipInLoop,
    Hidden,
    Layers,
    TestSize,
    make_cell,
)
from rnnjax.experiments.tasks._sequences import Sequences, one_hot, which_may_follow
from rnnjax.experiments.tasks._task import Metric, Recipe, Task
from rnnjax.experiments.tasks.synthetic._build import build
from rnnjax.scenarios import valid_steps


def dyck(
    *,
    cell: CellOption = "lstm",
    hidden: Hidden = 16,
    layers: Layers = 1,
    kinds: Annotated[int, "Kinds of brackets: one needs a counter, more need a stack."] = 1,
    max_length: Annotated[int, "Longest string in training."] = 50,
    test_length: Annotated[int, "Longest string to test on."] = 100,
    batch_size: BatchSize = 64,
    test_size: TestSize = 500,
    clip_in_loop: ClipInLoop = None,
) -> Task:
    """Which brackets may come next in a balanced string?

        x_t one-hot of the 2K brackets ( [ … ) ];   d_t = #opened - #closed up to t
        y_t = all K opening brackets, and if d_t > 0 the one that closes the last opened

    Lengths are uniform on 2, 4, … `max_length`, and among the strings of a length every shape
    is as likely as any other: at depth d with r brackets left, one opens with probability
    (d + 2)(r - d) / (2r (d + 1)). Its kind is uniform. With one kind a counter does; two or
    more need a stack.

    Metric: the share of strings of `max_length` + 2 … `test_length` in which every step is
    right; `accuracy` is that of the lengths trained on. A net that sees one bracket at a time
    can only say "one may be closed" after an opening bracket and not after a closing one; it
    is right on ()()() alone, one of the strings of its length.

    Args:
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units of every layer.
      layers: how many.
      kinds: K.
      max_length: longest string in training; even.
      test_length: longest to test on; even, and longer.
      batch_size: strings in a training batch.
      test_size: strings to test on.
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
            raise ValueError(f"{name} must be even, got {value}: brackets come in pairs")
    if test_length <= max_length:
        raise ValueError(f"test_length must exceed max_length = {max_length}, got {test_length}")
    check_positive_int("test_size", test_size)
    short = partial(_draw, kinds=kinds, shortest=2, longest=max_length)
    long = partial(_draw, kinds=kinds, shortest=max_length + 2, longest=test_length)
    return build(
        "dyck",
        make_cell(cell, hidden, layers),
        partial(short, batch=check_positive_int("batch_size", batch_size)),
        which_may_follow(),
        outputs=2 * kinds,
        tests={"": partial(short, batch=test_size), "_long": partial(long, batch=test_size)},
        metric=Metric("accuracy_long", "max"),
        recipe=Recipe(steps=3000, learning_rate=1e-2),
        clip_in_loop=clip_in_loop,
        baselines={"memoryless": _flat_share(max_length + 2, test_length)},
    )


class _State(NamedTuple):
    depth: Array  # [B]
    stack: Array  # [B, S] the kinds of the brackets that are open


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
    """The share of ()()…() among balanced strings: 1 / Catalan(n), a mean over the lengths."""
    pairs = range(shortest // 2, longest // 2 + 1)
    return sum((n + 1) / math.comb(2 * n, n) for n in pairs) / len(pairs)
