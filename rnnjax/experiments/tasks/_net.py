"""The model that most tasks share: a cell with a dense head."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from rnnjax._names import option
from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.experiments.tasks._sequences import Objective, Sequences
from rnnjax.experiments.tasks._task import Loss, Recurrence
from rnnjax.gradients import bptt, clip_by_value
from rnnjax.scenarios import ManyToMany, ManyToOne, many_to_many, many_to_one, pooled


class Net(NamedTuple):
    init: Callable[[Array], Params]  # key -> params
    outputs: Callable[..., Array]  # (params, batch, key=None) -> [T, B, K] or [B, K]
    loss: Loss
    recurrence: Callable[[Params, Sequences], Recurrence]


def dense_net(
    cell: Cell,
    outputs: int,
    objective: Objective,
    form: Sequences,
    clip_in_loop: float | None = None,
) -> Net:
    """A cell with a dense head on its output at every step, or at the last step of each sequence.

    Args:
      cell: the recurrent part.
      outputs: K, the size of the head.
      objective: the loss, and further scores.
      form: shapes and dtypes of a batch. If targets are `[T, B, ...]`, every step has an output.
      clip_in_loop: limit of each component of ∂C/∂z_t in the backward loop of `loss`; None for the
        exact gradient. The gradient of `recurrence` is always exact.

    Raises:
      ValueError: a limit that is not positive.
    """
    head = nn.Dense(outputs, param_dtype=jnp.result_type(float))
    every_step = form.targets.shape[:2] == form.xs.shape[:2]
    model, outputs_of = _model(cell, head, every_step, _options(clip_in_loop))

    def init(key: Array) -> Params:
        return model.init(key, jnp.zeros((1, *form.xs.shape[1:]), form.xs.dtype))

    def loss(params: Params, carry: Carry, batch: Sequences, key: Array | None):
        del carry
        found = outputs_of(params, batch, key)
        return objective.cost(found, batch), (None, objective.scores(found, batch))

    def recurrence(params: Params, batch: Sequences) -> Recurrence:
        def cost(carry: Carry, ys: Array) -> Array:
            del carry
            y = ys if every_step else pooled("last").apply(None, ys, batch.lengths)
            found = jnp.asarray(head.apply(params.head, y))
            return objective.cost(found, batch) * batch.xs.shape[1]

        return Recurrence(cell, params.layer, batch.xs, cost, batch.lengths)

    return Net(init, outputs_of, loss, recurrence)


def _model(
    cell: Cell, head: nn.Module, every_step: bool, options: dict[str, Any]
) -> tuple[ManyToMany | ManyToOne, Callable[..., Array]]:
    """The scenario, and (params, batch, key=None) -> outputs, unrolled with `options`."""
    if every_step:
        aligned = many_to_many(cell, head)

        def outputs_at_every_step(params: Params, batch: Sequences, key: Array | None = None):
            return aligned.apply(params, batch.xs, lengths=batch.lengths, key=key, **options)[1]

        return aligned, outputs_at_every_step
    summary = many_to_one(cell, head)

    def outputs_at_the_end(params: Params, batch: Sequences, key: Array | None = None) -> Array:
        return summary.apply(params, batch.xs, lengths=batch.lengths, key=key, **options)

    return summary, outputs_at_the_end


def _options(clip_in_loop: float | None) -> dict[str, Any]:
    """The options of `unroll`; none without clipping."""
    if clip_in_loop is None:
        return {}
    if not clip_in_loop > 0:
        raise ValueError(f"{option('clip_in_loop')} must be a limit above 0, got {clip_in_loop}")
    return {"gradient": bptt(clip=clip_by_value(clip_in_loop))}
