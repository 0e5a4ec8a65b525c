"""The delayed exclusive or of two marked bits."""

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
from rnnjax.experiments.tasks._sequences import Sequences, classification
from rnnjax.experiments.tasks._task import Metric, Recipe, Task
from rnnjax.experiments.tasks.synthetic._build import build


@with_checked_options
def delayed_xor(
    *,
    cell: CellOption = "lstm",
    hidden: Hidden = 32,
    layers: Layers = 1,
    length: Annotated[int, "T, the length of the sequences."] = 50,
    batch_size: BatchSize = 64,
    test_size: TestSize = 1000,
    clip_in_loop: ClipInLoop = None,
) -> Task:
    """Delayed XOR: the exclusive or of two bits that are marked early in a long random string.

        x_t = (b_t, m_t),   b_t ~ Bernoulli(1/2),   m_t = 1 at t = a and t = b, else 0
        y = b_a ⊕ b_b

    a is uniform on the first T/10 steps, b on the following ones up to T/2, and the target is at T.
    Like the adding problem with bits, but harder: one of the two bits alone carries no information
    about the answer, so the gradient does not lead to a partial solution.

    Metric: accuracy; chance level is 1/2.

    Args:
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer.
      layers: number of stacked layers.
      length: T, at least 10.
      batch_size: sequences per training batch.
      test_size: number of test sequences.
      clip_in_loop: limit of each component of ∂C/∂z_t inside the backward loop, as by
        `rnnjax.bptt(clip=clip_by_value(limit))`; without it the exact gradient.

    Returns:
      A `Task`.

    Raises:
      ValueError: an unknown cell, or length < 10.

    Example:
      >>> from rnnjax.experiments.tasks import delayed_xor
      >>> batch = delayed_xor(length=10).batches(0)[0]
      >>> bits, marks = batch.xs[:, 0].T
      >>> int(bits @ marks) % 2 == int(batch.targets[0])
      True

    References:
      Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9, whose
      adding problem it changes.
      Martens & Sutskever (2011), Learning recurrent neural networks with Hessian-free
      optimization, ICML, section 5.
    """
    check_at_least("length", length, 10, ": the marks need room")
    draw = partial(_draw, length=length)
    return build(
        "delayed_xor",
        make_cell(cell, hidden, layers),
        partial(draw, batch=check_positive_int("batch_size", batch_size)),
        classification(),
        outputs=2,
        tests={"": partial(draw, batch=check_positive_int("test_size", test_size))},
        metric=Metric("accuracy", "max"),
        recipe=Recipe(steps=3000, learning_rate=1e-2),
        clip_in_loop=clip_in_loop,
        baselines={"chance": 0.5},
    )


def _draw(key: Array, batch: int, length: int) -> Sequences:
    key_bits, key_a, key_b = jax.random.split(key, 3)
    bits = jax.random.bernoulli(key_bits, 0.5, (length, batch))
    a = jax.random.randint(key_a, (batch,), 0, length // 10)
    b = jax.random.randint(key_b, (batch,), length // 10, length // 2)
    steps = jnp.arange(length)[:, None]
    marked = (steps == a[None]) | (steps == b[None])
    targets = jnp.sum(bits & marked, axis=0) % 2
    return Sequences(jnp.stack([bits * 1.0, marked * 1.0], axis=-1), targets)
