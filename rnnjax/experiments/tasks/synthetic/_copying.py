"""The copying memory problem."""

import math
from functools import partial
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
    TestSize,
    check_at_least,
    make_cell,
)
from rnnjax.experiments.tasks._sequences import Objective, Sequences, classification, hits, one_hot
from rnnjax.experiments.tasks._task import Metric, Recipe, Task
from rnnjax.experiments.tasks.synthetic._build import build


@with_checked_options
def copying(
    *,
    cell: CellOption = "lstm",
    hidden: Hidden = 128,
    layers: Layers = 1,
    delay: Annotated[int, "T, steps between the last item and the recall."] = 100,
    items: Annotated[int, "Number of symbols to remember."] = 10,
    symbols: Annotated[int, "Size of the alphabet."] = 8,
    batch_size: BatchSize = 64,
    test_size: TestSize = 500,
    clip_in_loop: ClipInLoop = None,
) -> Task:
    """The copying problem: remember ten symbols over a long delay, and repeat them.

        input:   s_1 … s_10   blank × (T - 1)   delimiter   blank × 10
        target:  blank × (T + 10)                           s_1 … s_10

    with s_i uniform on eight symbols; inputs are one-hot over the symbols, the blank and the
    delimiter, targets are symbols or the blank. All ten must be stored at once.

    Metric: the cross-entropy in nats, a mean over all T + 20 steps. The memoryless
    baseline predicts blanks and guesses the ten symbols: 10 ln 8 / (T + 20). `recall` is the
    accuracy over the last ten steps.

    Args:
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer.
      layers: number of stacked layers.
      delay: T.
      items: number of symbols to remember, 10 in the source.
      symbols: size of the alphabet, 8 in the source.
      batch_size: sequences per training batch.
      test_size: number of test sequences.
      clip_in_loop: limit of each component of ∂C/∂z_t inside the backward loop, as by
        `rnnjax.bptt(clip=clip_by_value(limit))`; without it the exact gradient.

    Returns:
      A `Task`.

    Raises:
      ValueError: an unknown cell, or a number below 1 (symbols: 2).

    Example:
      >>> from rnnjax.experiments.tasks import copying
      >>> batch = copying(delay=5, items=3).batches(0)[0]
      >>> read, recalled = batch.xs[:3, 0].argmax(-1), batch.targets[-3:, 0]
      >>> (read == recalled).all().item(), batch.xs.shape[0]
      (True, 11)

    References:
      Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9.
      Arjovsky, Shah & Bengio (2016), Unitary evolution recurrent neural networks, ICML.
    """
    for name, value in (("delay", delay), ("items", items), ("test_size", test_size)):
        check_positive_int(name, value)
    check_at_least("symbols", symbols, 2, ": one symbol carries no information")
    draw = partial(_draw, delay=delay, items=items, symbols=symbols)
    return build(
        "copying",
        make_cell(cell, hidden, layers),
        partial(draw, batch=check_positive_int("batch_size", batch_size)),
        _with_recall(items),
        outputs=symbols + 1,
        tests={"": partial(draw, batch=test_size)},
        metric=Metric("loss", "min", "nats"),
        recipe=Recipe(steps=4000, learning_rate=1e-3),
        clip_in_loop=clip_in_loop,
        baselines={"memoryless": items * math.log(symbols) / (delay + 2 * items)},
    )


def _draw(key: Array, batch: int, delay: int, items: int, symbols: int) -> Sequences:
    blank, delimiter = symbols, symbols + 1
    shown = jax.random.randint(key, (items, batch), 0, symbols)

    def repeat(symbol: int, steps: int) -> Array:
        return jnp.full((steps, batch), symbol, shown.dtype)

    read = [shown, repeat(blank, delay - 1), repeat(delimiter, 1), repeat(blank, items)]
    targets = [repeat(blank, delay + items), shown]
    return Sequences(one_hot(jnp.concatenate(read), symbols + 2), jnp.concatenate(targets))


def _with_recall(items: int) -> Objective:
    """Classification, with the accuracy over the recall steps as `recall`."""
    plain = classification()

    def scores(logits: Array, batch: Sequences) -> dict[str, Array]:
        right = hits(logits[-items:], batch.targets[-items:])
        return {**plain.scores(logits, batch), "recall": jnp.mean(right)}

    return Objective(plain.cost, scores)
