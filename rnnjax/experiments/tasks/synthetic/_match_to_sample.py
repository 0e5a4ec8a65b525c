"""Delayed match to sample, a working-memory task from neuroscience."""

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
    check_at_least,
    check_spread,
    make_cell,
)
from rnnjax.experiments.tasks._sequences import Objective, Sequences, classification, hits
from rnnjax.experiments.tasks._task import Metric, Recipe, Task
from rnnjax.experiments.tasks.synthetic._build import build
from rnnjax.scenarios import valid_steps

FIXATION, SAMPLE, TEST, REACTION = 3, 5, 5, 9  # steps of 100 ms
FIXATE, MATCH, OTHER = 0, 1, 2  # the answers


class _Trial(NamedTuple):
    stimuli: int
    min_delay: int
    max_delay: int
    noise: float


@with_checked_options
def match_to_sample(
    *,
    cell: CellOption = "gru",
    hidden: Hidden = 64,
    layers: Layers = 1,
    stimuli: Annotated[int, "Number of stimulus directions, and of input units tuned to them."] = 8,
    min_delay: Annotated[int, "Shortest delay, in steps of 100 ms."] = 5,
    max_delay: Annotated[int, "Longest delay, in steps of 100 ms."] = 15,
    noise: Annotated[float, "Standard deviation of the noise on the stimulus."] = 0.1,
    batch_size: BatchSize = 64,
    test_size: TestSize = 1000,
    clip_in_loop: ClipInLoop = None,
) -> Task:
    """Delayed match to sample: is the test stimulus the sample seen before the delay?

    A trial has five epochs, in steps of 100 ms:

        fixation  3    the fixation point is on, as it is until the reaction
        sample    5    a stimulus of direction θ_s
        delay     5 to 15 (uniform)    nothing but the fixation point
        test      5    a stimulus of direction θ_t
        reaction  9    nothing; the response is due

    Inputs: the fixation point (1 or 0), and `stimuli` units with preferred directions
    φ_i = 2π i / K with activity ½ (1 + cos(φ_i - θ)) plus noise while a stimulus is on. In half
    of the trials θ_t = θ_s, in the others it is uniform on the other directions.
    Targets: "fixate" up to the reaction, then "match" or "non-match".

    Metric: the accuracy during the reaction; chance level is 1/2. `fixation` is the accuracy at the
    earlier steps.

    Args:
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer.
      layers: number of stacked layers.
      stimuli: K.
      min_delay: shortest delay.
      max_delay: longest delay.
      noise: standard deviation, independent at every step and unit.
      batch_size: trials per training batch.
      test_size: number of test trials.
      clip_in_loop: limit of each component of ∂C/∂z_t inside the backward loop, as by
        `rnnjax.bptt(clip=clip_by_value(limit))`; without it the exact gradient.

    Returns:
      A `Task`.

    Raises:
      ValueError: an unknown cell, fewer than two stimuli, delays in the wrong order, or
        negative noise.

    Example:
      >>> from rnnjax.experiments.tasks import match_to_sample
      >>> batch = match_to_sample(min_delay=4, max_delay=4).batches(0)[0]
      >>> batch.xs.shape, batch.targets[:17].max().item()     # 3 + 5 + 4 + 5 steps of fixation
      ((26, 64, 9), 0)

    References:
      Miller, Erickson & Desimone (1996), Neural mechanisms of visual working memory in
      prefrontal cortex of the macaque, Journal of Neuroscience 16.
      Molano-Mazón et al. (2022), NeuroGym, doi 10.31234/osf.io/aqc9n, for the epochs.
    """
    check_at_least("stimuli", stimuli, 2, ": with one all trials match")
    check_positive_int("min_delay", min_delay)
    if check_positive_int("max_delay", max_delay) < min_delay:
        raise ValueError(
            f"{option('max_delay')} must be at least {option('min_delay')} = {min_delay}, got "
            f"{max_delay}"
        )
    check_spread("noise", noise)
    draw = partial(_draw, trial=_Trial(stimuli, min_delay, max_delay, noise))
    return build(
        "match_to_sample",
        make_cell(cell, hidden, layers),
        partial(draw, batch=check_positive_int("batch_size", batch_size)),
        _reactions(),
        outputs=3,
        tests={"": partial(draw, batch=check_positive_int("test_size", test_size))},
        metric=Metric("accuracy", "max"),
        recipe=Recipe(steps=2000, learning_rate=3e-3),
        clip_in_loop=clip_in_loop,
        baselines={"chance": 0.5},
    )


def _draw(key: Array, batch: int, trial: _Trial) -> Sequences:
    keys = jax.random.split(key, 5)
    delay = jax.random.randint(keys[0], (batch,), trial.min_delay, trial.max_delay + 1)
    match = jax.random.bernoulli(keys[1], 0.5, (batch,))
    sample = jax.random.randint(keys[2], (batch,), 0, trial.stimuli)
    other = (sample + jax.random.randint(keys[3], (batch,), 1, trial.stimuli)) % trial.stimuli
    test = jnp.where(match, sample, other)
    durations = [FIXATION + 0 * delay, SAMPLE + 0 * delay, delay, TEST + 0 * delay]
    ends = jnp.cumsum(jnp.stack([*durations, REACTION + 0 * delay]), axis=0)  # [5, B]
    steps = FIXATION + SAMPLE + trial.max_delay + TEST + REACTION
    epoch = jnp.sum(jnp.arange(steps)[:, None, None] >= ends[None], axis=1)  # [T, B] 0 … 4, or 5
    seen = jnp.where(epoch == 1, sample[None], test[None])
    angles = 2 * jnp.pi / trial.stimuli * (jnp.arange(trial.stimuli)[None, None] - seen[..., None])
    visible = (epoch == 1) | (epoch == 3)
    noise = trial.noise * jax.random.normal(keys[4], angles.shape)
    stimulus = jnp.where(visible[..., None], (1 + jnp.cos(angles)) / 2 + noise, 0.0)
    xs = jnp.concatenate([(epoch < 4)[..., None] * 1.0, stimulus], axis=-1)
    targets = jnp.where(epoch < 4, FIXATE, jnp.where(match, MATCH, OTHER)[None])
    return Sequences(xs, targets, ends[-1], valid_steps(ends[-1], steps))


def _reactions() -> Objective:
    """Classification at every step; accuracy over the reaction, fixation before it."""
    plain = classification()

    def scores(logits: Array, batch: Sequences) -> dict[str, Array]:
        right = hits(logits, batch.targets)
        reacts = batch.targets != FIXATE
        valid = True if batch.valid is None else batch.valid
        return {
            "accuracy": jnp.mean(right, where=reacts & valid),
            "fixation": jnp.mean(right, where=~reacts & valid),
        }

    return Objective(plain.cost, scores)
