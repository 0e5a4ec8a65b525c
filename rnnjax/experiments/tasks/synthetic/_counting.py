"""The counter languages aⁿbⁿ and aⁿbⁿcⁿ."""

from typing import Annotated

import jax
import jax.numpy as jnp

from rnnjax._checks import check_positive_int
from rnnjax._types import Array
from rnnjax.experiments._fields import with_checked_options
from rnnjax.experiments.tasks._options import (
    BatchSize,
    CellOption,
    ClipInLoop,
    Hidden,
    Layers,
    check_at_least,
    make_cell,
)
from rnnjax.experiments.tasks._sequences import Sequences, next_symbol_sets, one_hot
from rnnjax.experiments.tasks._task import Metric, Recipe, Task
from rnnjax.experiments.tasks.synthetic._build import build
from rnnjax.scenarios import valid_steps


@with_checked_options
def counting(
    *,
    cell: CellOption = "lstm",
    hidden: Hidden = 16,
    layers: Layers = 1,
    letters: Annotated[int, "2 for aⁿbⁿ (context-free), 3 for aⁿbⁿcⁿ (context-sensitive)."] = 2,
    max_n: Annotated[int, "Largest n in training."] = 10,
    test_n: Annotated[int, "Largest n in the test."] = 100,
    batch_size: BatchSize = 64,
    clip_in_loop: ClipInLoop = None,
) -> Task:
    """Next-symbol prediction in the languages S aⁿ bⁿ T and S aⁿ bⁿ cⁿ T.

        after S: {a};  after an a: {a, b};  after the k-th b: {b} if k < n, {T} (or {c}) if k = n

    Inputs are one-hot over S and the letters, outputs are binary for each letter and T: which
    symbols may come next. This requires counting the a's. In training n is uniform on 1 … `max_n`.

    Metric: the share of n = 1 … `test_n` whose string is right at every step, each n once. A
    net that cannot count can settle on one n and be right there.

    Args:
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer.
      layers: number of stacked layers.
      letters: 2 or more.
      max_n: largest n in training, 10 in the source.
      test_n: largest n in the test.
      batch_size: strings per training batch.
      clip_in_loop: limit of each component of ∂C/∂z_t inside the backward loop, as by
        `rnnjax.bptt(clip=clip_by_value(limit))`; without it the exact gradient.

    Returns:
      A `Task`.

    Raises:
      ValueError: an unknown cell, fewer than two letters, or a number below 1.

    Example:
      >>> from rnnjax.experiments.tasks import counting
      >>> batch = counting(max_n=3).batches(0)[0]
      >>> a, b = batch.xs[:, 0, 1:].sum(axis=0).tolist()
      >>> a == b == (batch.lengths[0].item() - 1) / 2
      True

    References:
      Gers & Schmidhuber (2001), LSTM recurrent networks learn simple context-free and
      context-sensitive languages, IEEE Transactions on Neural Networks 12.
    """
    check_at_least("letters", letters, 2, ": aⁿ alone needs no counting")
    check_positive_int("max_n", max_n)
    check_positive_int("test_n", test_n)
    check_positive_int("batch_size", batch_size)

    def draw(key: Array) -> Sequences:
        return _strings(jax.random.randint(key, (batch_size,), 1, max_n + 1), letters, max_n)

    def every_n(key: Array) -> Sequences:
        del key
        return _strings(jnp.arange(1, test_n + 1), letters, test_n)

    return build(
        "counting",
        make_cell(cell, hidden, layers),
        draw,
        next_symbol_sets(),
        outputs=letters + 1,
        tests={"": every_n},
        metric=Metric("accuracy", "max"),
        recipe=Recipe(steps=3000, learning_rate=1e-2),
        clip_in_loop=clip_in_loop,
        baselines={"one n": 1 / test_n},
    )


def _strings(n: Array, letters: int, largest: int) -> Sequences:
    """The string for each n `[B]`: its symbols (0 for S, 1 for a, …), and the next-symbol sets."""
    position = jnp.arange(letters * largest + 1)[:, None] - 1  # -1 at S
    block = jnp.where(position < 0, -1, position // n[None])  # 0 for a, 1 for b, …
    last = (position + 1) % n[None] == 0  # of its block
    following = jnp.where(block < 1, 0, block + last)  # a possible next symbol
    also = jnp.where(block == 0, 1, following)  # another one
    targets = jnp.maximum(one_hot(following, letters + 1), one_hot(also, letters + 1))
    lengths = letters * n + 1
    valid = valid_steps(lengths, len(position))
    return Sequences(one_hot(block + 1, letters + 1) * valid[..., None], targets, lengths, valid)
