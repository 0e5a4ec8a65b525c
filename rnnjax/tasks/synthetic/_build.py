"""A task from a generator of sequences: the net, its loss, its tests, and its recurrent part."""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.scenarios import ManyToMany, ManyToOne, many_to_many, many_to_one
from rnnjax.tasks._task import Metric, Recipe, Recurrence, Task
from rnnjax.tasks.synthetic._objectives import Objective
from rnnjax.tasks.synthetic._sequences import Draw, Sequences, drawn

TEST_SEED = 271_828_182  # test data come from a key of their own


def build(
    name: str,
    cell: Cell,
    draw: Draw,
    objective: Objective,
    *,
    outputs: int,
    tests: Mapping[str, Draw],
    metric: Metric,
    recipe: Recipe,
    baselines: Mapping[str, float],
    judged: Objective | None = None,
) -> Task:
    """A `Task` of a cell with a dense head on its output at every step, or at the last.

    Args:
      name: of the task.
      cell: the recurrent part.
      draw: key -> a batch. Where targets are `[T, B, ...]` every step has an output.
      objective: what is minimised and what is counted.
      outputs: K, the size of the head.
      tests: what to append to the names of the scores -> a draw of test data.
      metric, recipe, baselines: as in `Task`.
      judged: what is counted on test data, if it is not the same.
    """
    head = nn.Dense(outputs, param_dtype=jnp.result_type(float))
    form = jax.eval_shape(draw, jax.random.key(0))
    every_step = form.targets.shape[:2] == form.xs.shape[:2]
    model, outputs_of = _model(cell, head, every_step)

    def loss(params: Params, carry: Carry, batch: Sequences, key: Array | None):
        del carry
        found = outputs_of(params, batch, key)
        return objective.cost(found, batch), (None, objective.scores(found, batch))

    def recurrence(params: Params, batch: Sequences) -> Recurrence:
        def cost(carry: Carry, ys: Array) -> Array:
            del carry
            y = ys if every_step else last_outputs(ys, batch.lengths)
            found = jnp.asarray(head.apply(params.head, y))
            return objective.cost(found, batch) * batch.xs.shape[1]

        return Recurrence(cell, params.layer, batch.xs, cost, batch.lengths)

    return Task(
        name,
        lambda key: model.init(key, jnp.zeros((1, *form.xs.shape[1:]), form.xs.dtype)),
        loss,
        drawn(draw),
        _evaluation(outputs_of, judged or objective, tests),
        metric,
        recipe,
        baselines=baselines,
        recurrence=recurrence,
    )


def _model(
    cell: Cell, head: nn.Module, every_step: bool
) -> tuple[ManyToMany | ManyToOne, Callable[..., Array]]:
    """The scenario, and (params, batch, key=None) -> outputs."""
    if every_step:
        aligned = many_to_many(cell, head)

        def outputs_at_every_step(params: Params, batch: Sequences, key: Array | None = None):
            return aligned.apply(params, batch.xs, lengths=batch.lengths, key=key)[1]

        return aligned, outputs_at_every_step
    summary = many_to_one(cell, head)

    def outputs_at_the_end(params: Params, batch: Sequences, key: Array | None = None) -> Array:
        return summary.apply(params, batch.xs, lengths=batch.lengths, key=key)

    return summary, outputs_at_the_end


def last_outputs(ys: Array, lengths: Array | None) -> Array:
    """Each sequence's last output, `[B, H]`."""
    if lengths is None:
        return ys[-1]
    return jnp.take_along_axis(ys, (lengths - 1)[None, :, None], axis=0)[0]


def _evaluation(
    outputs_of: Callable[[Params, Sequences], Array],
    objective: Objective,
    tests: Mapping[str, Draw],
) -> Callable[[Params], dict[str, float]]:
    def scored(draw: Draw) -> Callable[[Params, Array], dict[str, Array]]:
        @jax.jit
        def score(params: Params, key: Array) -> dict[str, Array]:
            batch = draw(key)
            found = outputs_of(params, batch)
            return {"loss": objective.cost(found, batch), **objective.scores(found, batch)}

        return score

    scores = {suffix: scored(draw) for suffix, draw in tests.items()}

    def evaluate(params: Params) -> dict[str, float]:
        keys = jax.random.split(jax.random.key(TEST_SEED), len(scores))
        return {
            name + suffix: float(value)
            for key, (suffix, score) in zip(keys, scores.items(), strict=True)
            for name, value in score(params, key).items()
        }

    return evaluate
