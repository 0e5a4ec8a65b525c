"""The temporal order problem."""

from functools import partial
from typing import Annotated, NamedTuple

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
from rnnjax.experiments.tasks._sequences import Sequences, classification, one_hot
from rnnjax.experiments.tasks._task import Metric, Recipe, Task
from rnnjax.experiments.tasks.synthetic._build import build
from rnnjax.scenarios import valid_steps

DISTRACTORS = 4  # irrelevant symbols; the two relevant ones come first


class _Variant(NamedTuple):
    places: dict[int, tuple[tuple[int, int], ...]]  # marks -> ranges of their positions, in % of T
    inclusive: bool  # whether a range includes its end
    framed: bool  # whether there are start and trigger symbols, and varying lengths


VARIANTS = {
    "pascanu_2013": _Variant(
        {2: ((10, 20), (50, 60)), 3: ((10, 20), (30, 40), (60, 70))}, False, False
    ),
    "hochreiter_1997": _Variant(
        {2: ((10, 20), (50, 60)), 3: ((10, 20), (33, 43), (66, 76))}, True, True
    ),
}


@with_checked_options
def temporal_order(
    *,
    cell: CellOption = "lstm",
    hidden: Hidden = 50,
    layers: Layers = 1,
    length: Annotated[int, "T, the length of the sequences."] = 100,
    marks: Annotated[int, "Relevant symbols: 2 (4 classes) or 3 (8 classes)."] = 2,
    variant: Annotated[str, "pascanu_2013 or hochreiter_1997."] = ("pascanu_2013"),
    batch_size: BatchSize = 50,
    test_size: TestSize = 1000,
    clip_in_loop: ClipInLoop = None,
) -> Task:
    """The temporal order problem: classify the order of relevant symbols among distractors.

        x_t one-hot of c, d, e, f, at random, but A or B at t_1 < t_2 (< t_3);
        y = the sequence of those: AA, AB, BA or BB (AAA … BBB)

    "pascanu_2013": T steps, t_1 uniform on [T/10, 2T/10) and t_2 on [5T/10, 6T/10); with three
    marks [T/10, 2T/10), [3T/10, 4T/10) and [6T/10, 7T/10).
    "hochreiter_1997" (experiments 6a and 6b): T … T + T/10 steps, the first a start symbol, the
    last a trigger, A and B are called X and Y; t_1 from T/10 to 2T/10, t_2 from 5T/10 to
    6T/10, ends included; with three marks 10 to 20, 33 to 43 and 66 to 76 % of T.

    Class Σ_k 2^{k-1} [symbol k is B], predicted at the last step.

    Metric: accuracy. Chance level is 1/4 (1/8), with a cross-entropy of ln 4 = 1.386 (ln 8).

    Args:
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer.
      layers: number of stacked layers.
      length: T, at least 20. Hochreiter & Schmidhuber have 100, Pascanu et al. 50 to 200.
      marks: 2 or 3.
      variant: "pascanu_2013" or "hochreiter_1997".
      batch_size: sequences per training batch.
      test_size: number of test sequences.
      clip_in_loop: limit of each component of ∂C/∂z_t inside the backward loop, as by
        `rnnjax.bptt(clip=clip_by_value(limit))`; without it the exact gradient.

    Returns:
      A `Task`.

    Raises:
      ValueError: an unknown cell, variant or number of marks, or length < 20.

    Example:
      >>> from rnnjax.experiments.tasks import temporal_order
      >>> batch = temporal_order(length=20).batches(0)[0]
      >>> shown = [symbol for symbol in batch.xs[:, 0].argmax(-1).tolist() if symbol < 2]
      >>> shown[0] + 2 * shown[1] == int(batch.targets[0])
      True

    References:
      Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9, section 5.6.
      Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural networks,
      ICML, section 4.1.
    """
    kind = VARIANTS[check_choice("variant", variant, VARIANTS)]
    if marks not in kind.places:
        raise ValueError(f"{option('marks')} must be 2 or 3, got {marks}")
    check_at_least("length", length, 20, ": the marks need room")
    draw = partial(_draw, length=length, kind=kind, places=kind.places[marks])
    return build(
        "temporal_order",
        make_cell(cell, hidden, layers),
        partial(draw, batch=check_positive_int("batch_size", batch_size)),
        classification(),
        outputs=2**marks,
        tests={"": partial(draw, batch=check_positive_int("test_size", test_size))},
        metric=Metric("accuracy", "max"),
        recipe=Recipe(steps=3000, learning_rate=3e-3),
        clip_in_loop=clip_in_loop,
        baselines={"chance": 0.5**marks},
    )


def _draw(
    key: Array, batch: int, length: int, kind: _Variant, places: tuple[tuple[int, int], ...]
) -> Sequences:
    key_noise, key_lengths, key_symbols, key_places = jax.random.split(key, 4)
    longest = length + length // 10 if kind.framed else length
    shape = (len(places), batch)
    begin = jnp.array([low * length // 100 for low, _ in places])[:, None]
    end = jnp.array([high * length // 100 + kind.inclusive for _, high in places])[:, None]
    at = jax.random.randint(key_places, shape, begin, end)
    shown = jax.random.randint(key_symbols, shape, 0, 2)
    symbols = jax.random.randint(key_noise, (longest, batch), 2, 2 + DISTRACTORS)
    symbols = symbols.at[at, jnp.arange(batch)[None]].set(shown)
    classes = jnp.sum(shown * 2 ** jnp.arange(len(places))[:, None], axis=0)
    if not kind.framed:
        return Sequences(one_hot(symbols, 2 + DISTRACTORS), classes)
    lengths = jax.random.randint(key_lengths, (batch,), length, longest + 1)
    start, trigger = 2 + DISTRACTORS, 3 + DISTRACTORS
    symbols = symbols.at[0].set(start).at[lengths - 1, jnp.arange(batch)].set(trigger)
    xs = one_hot(symbols, 4 + DISTRACTORS) * valid_steps(lengths, longest)[..., None]
    return Sequences(xs, classes, lengths)
