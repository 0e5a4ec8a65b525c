"""Callbacks of `fit`: their protocol, and one that measures gradient flow during training."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from rnnjax import flow
from rnnjax._arguments import checked_arguments
from rnnjax._checks import check_positive_int
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.experiments.tasks import Batch, Recurrence, Task
from rnnjax.experiments.training._step import TrainState


@runtime_checkable
class Callback(Protocol):
    """Called by `fit` at an interval; what it returns is logged with that step's metrics.

    The state is the one after the step, and the batch the one of the step (of the first seed and
    the first accumulated batch, if there are several). The buffers of the state are donated to the
    next step, so copy what you keep.
    """

    @property
    def every(self) -> int:
        """Steps between two calls."""
        ...

    def __call__(
        self, step: int, state: TrainState, batch: Batch, task: Task, /
    ) -> Mapping[str, float]:
        """Values by name, for metrics.jsonl and TensorBoard."""
        ...


class _FlowCallback(NamedTuple):
    every: int
    examples: int
    leaf: str | None

    def __call__(
        self, step: int, state: TrainState, batch: Batch, task: Task, /
    ) -> dict[str, float]:
        if task.recurrence is None:
            raise ValueError(
                f"task {task.name!r} does not expose its recurrent cell: flow_callback needs "
                "Task.recurrence"
            )
        norms, lyapunov = _measure(task.recurrence, self.examples, self.leaf, state.params, batch)
        names = [f"log10_gradient_norm_lag_{lag}" for lag in norms]
        found = dict(zip(names, map(float, norms.values()), strict=True))
        return {**found, "lyapunov": float(lyapunov)}


@checked_arguments
def flow_callback(every: int = 500, *, examples: int = 8, leaf: str | None = None) -> Callback:
    """Log the gradient flow through the task's recurrent cell, every `every` steps.

        log10_gradient_norm_lag_k   mean of log10 ‖∂C/∂s_{T-k}‖ for k = 0, 1, 2, 4, 8 …
        lyapunov                    largest Lyapunov exponent along the sequences, nats per step

    It is measured on the batch of the step. C is the cost of the last output that is read in each
    sequence, at step T: one error on its way back, not the sum of the errors of all outputs.
    Examples whose norm is zero are left out of the mean; it is -inf if all of them are. A
    positive exponent means that nearby states diverge. (The share of clipped steps is in every log
    entry as `clip_rate`.)

    Args:
      every: steps between two measurements.
      examples: how many of the batch the Lyapunov exponent is averaged over; norms use all.
      leaf: the field of the carry whose gradient norms are taken, such as "h"; None for all fields.

    Returns:
      A `Callback` for `fit(..., callbacks=[flow_callback(200)])`.

    Raises:
      ValueError: every or examples below 1; when called, a task without `Task.recurrence`.

    Example:
      >>> from rnnjax.experiments.training import flow_callback
      >>> flow_callback(200).every
      200

    References:
      Bengio, Simard & Frasconi (1994), Learning long-term dependencies with gradient descent
      is difficult, IEEE Transactions on Neural Networks 5.
    """
    check_positive_int("every", every)
    return _FlowCallback(every, check_positive_int("examples", examples), leaf)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _measure(
    recurrence: Callable[[Params, Batch], Recurrence],
    examples: int,
    leaf: str | None,
    params: Params,
    batch: Batch,
) -> tuple[dict[int, Array], Array]:
    net = recurrence(params, batch)
    recording = flow.record(net.cell, net.params, net.xs, net.cost, lengths=net.lengths, last=True)
    norms, reads = flow.gradient_norms(recording, leaf), jnp.asarray(recording.reads)
    norms, reads = norms.reshape(norms.shape[0], -1), reads.reshape(norms.shape[0], -1)
    ends = jnp.where(jnp.any(reads, axis=0), jnp.argmax(reads, axis=0), -1)
    found = {lag: _log10_at(norms, ends - lag) for lag in _lags(norms.shape[0])}
    return found, _lyapunov(net, examples)


def _lags(steps: int) -> list[int]:
    return [0, *(2**n for n in range(steps.bit_length()) if 2**n < steps)]


def _log10_at(norms: Array, place: Array) -> Array:
    """The mean over examples of log10 of the norm at each example's own place, if not negative."""
    found = jnp.take_along_axis(norms, jnp.maximum(place, 0)[None], axis=0)[0]
    there = (place >= 0) & (found > 0)
    count = jnp.sum(there).astype(norms.dtype)
    total = jnp.sum(jnp.where(there, jnp.log10(jnp.where(there, found, 1.0)), 0.0))
    return jnp.where(jnp.any(there), total / jnp.maximum(count, 1.0), -jnp.inf)


def _lyapunov(net: Recurrence, examples: int) -> Array:
    """The largest Lyapunov exponent, averaged over the first examples."""
    xs = jax.tree.map(lambda x: x[:, :examples], net.xs)
    if net.lengths is None:
        return jnp.mean(flow.lyapunov_spectrum(net.cell, net.params, xs, 1))
    steps, count = jax.tree.leaves(xs)[0].shape[:2]
    lengths = jnp.asarray(net.lengths)[:count]
    valid = (jnp.arange(steps)[:, None] < lengths[None])[..., None].astype(float)
    frozen = flow.lyapunov_spectrum(_frozen(net.cell), net.params, _Flagged(xs, valid), 1)[:, 0]
    # Frozen steps contribute ln 1 = 0 to a sum that is divided by all steps.
    exponents = frozen * steps / jnp.maximum(lengths, 1).astype(frozen.dtype)
    count = jnp.sum(lengths > 0).astype(frozen.dtype)
    return jnp.sum(jnp.where(lengths > 0, exponents, 0.0)) / count


class _Flagged(NamedTuple):
    x: PyTree  # [..., D]
    valid: Array  # [..., 1] 1 before the end of the sequence, 0 from there on


def _frozen(cell: Cell) -> Cell:
    """The cell with a carry that is constant past the end of a sequence."""

    def step(params: Params, carry: Carry, x_t: _Flagged) -> tuple[Carry, Array]:
        new, y_t = cell.step(params, carry, x_t.x)

        def kept(new: Array, old: Array) -> Array:
            valid = x_t.valid.reshape(x_t.valid.shape[:1] + (1,) * (new.ndim - 1))
            return jnp.where(valid > 0, new, old)

        return jax.tree.map(kept, new, carry), y_t

    return Cell(cell.init, cell.initial_carry, step)
