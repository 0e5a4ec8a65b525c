"""The parity of bit strings, with length generalisation."""

from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp

from rnnjax._checks import check_choice, check_positive_int
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
from rnnjax.experiments.tasks._sequences import Objective, Sequences, classification, hits
from rnnjax.experiments.tasks._task import Metric, Recipe, Task
from rnnjax.experiments.tasks.synthetic._build import build
from rnnjax.scenarios import valid_steps

_ALSO_TESTED = (20, 50, 100, 200, 500)  # shorter lengths that are also evaluated


@with_checked_options
def parity(
    *,
    cell: CellOption = "lstm",
    hidden: Hidden = 32,
    layers: Layers = 1,
    max_length: Annotated[int, "Longest training string; lengths are uniform on 1 to this."] = 20,
    test_length: Annotated[int, "Length of the test strings."] = 1000,
    targets: Annotated[str, "Train on the parity at 'every' step, or only at the 'last'."] = (
        "every"
    ),
    batch_size: BatchSize = 64,
    test_size: TestSize = 200,
    clip_in_loop: ClipInLoop = None,
) -> Task:
    """The parity of bit strings far longer than those in training.

        x_t = 2 b_t - 1,   b_t ~ Bernoulli(1/2);   y_t = (b_1 + … + b_t) mod 2

    Only one bit of memory is needed, but every 1 flips it, and a single error invalidates all later
    answers. A subset of the bits carries no information about the parity. In the source only the
    last step has a target; with `targets="every"`, the default, every step has.

    Metric: the accuracy after `test_length` bits; `evaluate` also returns it after fewer. Chance
    level is 1/2.

    Args:
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer.
      layers: number of stacked layers.
      max_length: lengths in training are uniform on 1 … max_length.
      test_length: length of the test strings.
      targets: "every" or "last".
      batch_size: strings per training batch.
      test_size: number of test strings.
      clip_in_loop: limit of each component of ∂C/∂z_t inside the backward loop, as by
        `rnnjax.bptt(clip=clip_by_value(limit))`; without it the exact gradient.

    Returns:
      A `Task`.

    Raises:
      ValueError: an unknown cell or kind of targets, or a number below 1.

    Example:
      >>> from rnnjax.experiments.tasks import parity
      >>> task = parity(max_length=5, targets="last")
      >>> batch = task.batches(0)[0]
      >>> ones = (batch.xs > 0).sum(axis=(0, 2))           # the padding holds zeros
      >>> (ones % 2 == batch.targets[-1]).all().item()
      True

    References:
      Bengio, Simard & Frasconi (1994), Learning long-term dependencies with gradient descent is
      difficult, IEEE Transactions on Neural Networks 5.
    """
    check_choice("targets", targets, ("every", "last"))
    check_positive_int("max_length", max_length)
    check_positive_int("test_length", test_length)
    check_positive_int("batch_size", batch_size)
    check_positive_int("test_size", test_size)
    every = targets == "every"
    return build(
        "parity",
        make_cell(cell, hidden, layers),
        partial(_draw, batch=batch_size, longest=max_length, every=every),
        classification(),
        outputs=2,
        tests={"": partial(_draw_long, batch=test_size, length=test_length)},
        judged=_after([n for n in _ALSO_TESTED if n < test_length] + [test_length]),
        metric=Metric(f"accuracy_{test_length}", "max"),
        recipe=Recipe(steps=3000, learning_rate=1e-2),
        clip_in_loop=clip_in_loop,
        baselines={"chance": 0.5},
    )


def _draw(key: Array, batch: int, longest: int, every: bool) -> Sequences:
    """Strings of all lengths up to `longest`, padded with zeros (bits are ±1)."""
    key_lengths, key_bits = jax.random.split(key)
    lengths = jax.random.randint(key_lengths, (batch,), 1, longest + 1)
    valid = valid_steps(lengths, longest)
    bits = jax.random.bernoulli(key_bits, 0.5, (longest, batch)) & valid
    xs = jnp.where(valid, 2.0 * bits - 1.0, 0.0)[..., None]
    judged = valid if every else valid & ~valid_steps(lengths - 1, longest)
    return Sequences(xs, jnp.cumsum(bits, axis=0) % 2, lengths, judged)


def _draw_long(key: Array, batch: int, length: int) -> Sequences:
    bits = jax.random.bernoulli(key, 0.5, (length, batch))
    return Sequences((2.0 * bits - 1.0)[..., None], jnp.cumsum(bits, axis=0) % 2)


def _after(lengths: list[int]) -> Objective:
    """Classification, with the accuracy after each of these numbers of bits."""

    def scores(logits: Array, batch: Sequences) -> dict[str, Array]:
        right = jnp.mean(hits(logits, batch.targets), axis=-1)
        return {f"accuracy_{n}": right[n - 1] for n in lengths}

    return Objective(classification().cost, scores)
