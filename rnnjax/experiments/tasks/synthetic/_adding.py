"""The adding problem."""

from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp

from rnnjax._checks import check_choice, check_positive_int
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
    check_at_least,
    make_cell,
)
from rnnjax.experiments.tasks._sequences import Sequences, regression
from rnnjax.experiments.tasks._task import Metric, Recipe, Task
from rnnjax.experiments.tasks.synthetic._build import build
from rnnjax.scenarios import valid_steps

VARIANTS = ("le_2015", "arjovsky_2016", "hochreiter_1997")
TOLERANCE = 0.04  # errors above it count as wrong (Hochreiter & Schmidhuber 1997)


@with_checked_options
def adding(
    *,
    cell: CellOption = "lstm",
    hidden: Hidden = 100,
    layers: Layers = 1,
    length: Annotated[int, "T, the length of the sequences."] = 100,
    variant: Annotated[str, "le_2015, arjovsky_2016 or hochreiter_1997."] = ("le_2015"),
    batch_size: BatchSize = 50,
    test_size: TestSize = 1000,
    clip_in_loop: ClipInLoop = None,
) -> Task:
    """The adding problem: the sum of the two marked numbers in a long sequence.

        x_t = (u_t, m_t),   u_t ~ U[0, 1],   m_t = 1 at t = a and t = b, else 0;   y = u_a + u_b

    Three variants differ in the positions of the marks and the scale:
      "le_2015": a ≠ b anywhere in 1 … T;
      "arjovsky_2016": a in the first half, b in the second;
      "hochreiter_1997": u_t ~ U[-1, 1]; lengths are uniform on T … T + T/10; a is one of the
        first ten steps, b another one of the first T/2; the first and the last step are marked
        with -1 (if a is the first, its mark is -1 and u_a counts as zero);
        y = 0.5 + (u_a + u_b) / 4.

    Metric: the mean squared error. The baseline is the mean, whose error is the variance of y,
    1/6 = 0.167 (about 1/25 with y scaled as in 1997). `wrong` is the share of answers with an
    error above 0.04.

    Args:
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer.
      layers: number of stacked layers.
      length: T, at least 2 (20 in the variant of 1997).
      variant: "le_2015", "arjovsky_2016" or "hochreiter_1997".
      batch_size: sequences per training batch.
      test_size: number of test sequences.
      clip_in_loop: limit of each component of ∂C/∂z_t inside the backward loop, as by
        `rnnjax.bptt(clip=clip_by_value(limit))`; without it the exact gradient.

    Returns:
      A `Task`.

    Raises:
      ValueError: an unknown cell or variant, or sizes that are too small.

    Example:
      >>> from rnnjax.experiments.tasks import adding
      >>> batch = adding(length=10).batches(0)[0]
      >>> numbers, marks = batch.xs[:, 0].T
      >>> round(float(numbers @ marks), 5) == round(float(batch.targets[0, 0]), 5)
      True

    References:
      Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9, section 5.4.
      Le, Jaitly & Hinton (2015), A simple way to initialize recurrent networks of rectified
      linear units, arXiv 1504.00941.
      Arjovsky, Shah & Bengio (2016), Unitary evolution recurrent neural networks, ICML.
    """
    check_choice("variant", variant, VARIANTS)
    original = variant == "hochreiter_1997"
    shortest = 20 if original else 2
    check_at_least("length", length, shortest, f"; {option('variant', variant)} needs as many")
    if original:
        draw = partial(_draw_original, length=length)
    else:
        draw = partial(_draw, length=length, halves=variant == "arjovsky_2016")
    return build(
        "adding",
        make_cell(cell, hidden, layers),
        partial(draw, batch=check_positive_int("batch_size", batch_size)),
        regression(TOLERANCE),
        outputs=1,
        tests={"": partial(draw, batch=check_positive_int("test_size", test_size))},
        metric=Metric("mse", "min"),
        recipe=Recipe(steps=3000, learning_rate=1e-2),
        clip_in_loop=clip_in_loop,
        baselines={"mean": _variance(length, original)},
    )


def _draw(key: Array, batch: int, length: int, halves: bool) -> Sequences:
    key_numbers, key_a, key_b = jax.random.split(key, 3)
    numbers = jax.random.uniform(key_numbers, (length, batch))
    if halves:
        a = jax.random.randint(key_a, (batch,), 0, length // 2)
        b = jax.random.randint(key_b, (batch,), length // 2, length)
    else:
        a = jax.random.randint(key_a, (batch,), 0, length)
        b = (a + jax.random.randint(key_b, (batch,), 1, length)) % length
    marked = _at(a, length) | _at(b, length)
    return _sequences(numbers, marked * 1.0, jnp.sum(numbers, axis=0, where=marked))


def _draw_original(key: Array, batch: int, length: int) -> Sequences:
    """The original variant: varying lengths, marks near the start, and marked ends."""
    key_numbers, key_lengths, key_a, key_b = jax.random.split(key, 4)
    longest = length + length // 10
    lengths = jax.random.randint(key_lengths, (batch,), length, longest + 1)
    numbers = jax.random.uniform(key_numbers, (longest, batch), minval=-1.0, maxval=1.0)
    a = jax.random.randint(key_a, (batch,), 0, 10)
    b = jax.random.randint(key_b, (batch,), 0, length // 2 - 1)
    b = b + (b >= a)  # any of the first T/2 except a
    ends = _at(jnp.zeros_like(lengths), longest) | _at(lengths - 1, longest)
    marked = (_at(a, longest) | _at(b, longest)) & ~ends
    targets = 0.5 + jnp.sum(numbers, axis=0, where=marked) / 4
    return _sequences(
        numbers * valid_steps(lengths, longest), marked * 1.0 - ends, targets, lengths
    )


def _at(positions: Array, length: int) -> Array:
    """`[T, B]`, true at each sequence's position."""
    return jnp.arange(length)[:, None] == positions[None]


def _sequences(
    numbers: Array, marks: Array, targets: Array, lengths: Array | None = None
) -> Sequences:
    return Sequences(jnp.stack([numbers, marks], axis=-1), targets[:, None], lengths)


def _variance(length: int, original: bool) -> float:
    """The variance of the target: the error of the best constant."""
    if not original:
        return 1 / 6
    first = 0.1 + 0.9 / (length // 2 - 1)  # expected marks at the first step, which counts as zero
    return (2 - first) / 48
