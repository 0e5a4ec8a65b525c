"""How much memory training takes, by the shapes of its arrays, before any of them is made."""

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from rnnjax._arguments import is_int
from rnnjax._names import option
from rnnjax._types import PyTree
from rnnjax.experiments._memory import available_memory, in_units
from rnnjax.experiments.tasks import Task
from rnnjax.experiments.training._settings import ResolvedSettings
from rnnjax.experiments.training._setup import initial_state

_NAMED = 3  # options in a message


class Needs(NamedTuple):
    """Bytes, a lower bound."""

    state: int  # weights, their gradients and updates, state of the optimizer, average
    steps: int  # a batch, and what its backward pass keeps of the forward pass


def training_needs(task: Task, settings: ResolvedSettings) -> Needs:
    """The memory that training takes, all seeds together.

    Nothing is allocated except one batch, if the task reads it from files.
    """

    def kept(params: PyTree, carry: PyTree, batch: PyTree, key: Any) -> Any:
        return jax.vjp(lambda params: task.loss(params, carry, batch, key)[0], params)[1]

    with warnings.catch_warnings(action="ignore"):  # of JAX's, about indices of huge arrays
        state = jax.eval_shape(lambda: initial_state(task, settings._replace(seeds=1)))
        batch = jax.eval_shape(lambda: task.batches(settings.seed)[0])
        residuals = jax.eval_shape(kept, state.params, state.carry, batch, state.key)
    return Needs(
        settings.seeds * (_bytes(state) + 2 * _bytes(state.params)),
        settings.seeds * (settings.accumulate * _bytes(batch) + _bytes(residuals)),
    )


def _bytes(tree: PyTree) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def check_memory(task: Task, settings: ResolvedSettings, chosen: Mapping[str, Any]) -> None:
    """Raise ValueError, before any array is made, if training takes more memory than there is.

    Args:
      task, settings: what to train, and how.
      chosen: the options that were given, of which the message names the largest sizes.
    """
    try:
        needs = training_needs(task, settings)
    except OverflowError:
        raise ValueError(f"{_sizes(chosen)}: too large for JAX's indices of 32 bits") from None
    free = _device_memory() or available_memory()
    if free is not None and sum(needs) > free:
        raise ValueError(
            f"{_sizes(chosen)}: training would take {in_units(sum(needs))} of memory, "
            f"{in_units(needs.state)} for weights, gradients and the optimizer and "
            f"{in_units(needs.steps)} for a step, but {in_units(free)} are available"
        )


def _sizes(chosen: Mapping[str, Any]) -> str:
    """The largest of the sizes that were chosen, as they were given."""
    sizes = {name: value for name, value in chosen.items() if is_int(value) and name != "seed"}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:_NAMED]
    return ", ".join(option(name, sizes[name]) for name in largest) or "with these options"


def _device_memory() -> int | None:
    """Bytes that are left on a GPU or TPU; None on a CPU, which has those of the machine."""
    stats = jax.local_devices()[0].memory_stats() or {}
    limit = stats.get("bytes_limit")
    return None if limit is None else limit - stats.get("bytes_in_use", 0)
