"""What is minimised, and what is counted, on a batch of sequences."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import optax

from rnnjax._types import Array
from rnnjax.experiments.tasks._sequences import Sequences
from rnnjax.scenarios import cross_entropy, squared_error


class Objective(NamedTuple):
    cost: Callable[[Array, Sequences], Array]  # (outputs, batch) -> scalar, a mean
    scores: Callable[[Array, Sequences], dict[str, Array]]  # the same -> further means


def classification() -> Objective:
    """One class a step or a sequence: cross-entropy in nats, and accuracy."""

    def cost(logits: Array, batch: Sequences) -> Array:
        return cross_entropy(logits, batch.targets, batch.valid)

    def scores(logits: Array, batch: Sequences) -> dict[str, Array]:
        right = jnp.argmax(logits, axis=-1) == batch.targets
        return {"accuracy": jnp.mean(right, where=batch.valid)}

    return Objective(cost, scores)


def regression(tolerance: float | None = None) -> Objective:
    """Numbers: the mean squared error, and what share is off by more than `tolerance`."""

    def cost(outputs: Array, batch: Sequences) -> Array:
        return squared_error(outputs, batch.targets, batch.valid)

    def scores(outputs: Array, batch: Sequences) -> dict[str, Array]:
        found = {"mse": cost(outputs, batch)}
        if tolerance is not None:
            off = jnp.max(jnp.abs(outputs - batch.targets), axis=-1) > tolerance
            found["wrong"] = jnp.mean(off, where=batch.valid)
        return found

    return Objective(cost, scores)


def which_may_follow() -> Objective:
    """Any number of K symbols may come next: a yes or no for each, and sequences accepted.

        C = -1/(N K) Σ y ln σ(z) + (1 - y) ln(1 - σ(z))

    A sequence is accepted if every symbol is judged rightly (z > 0) at every step.
    """

    def cost(logits: Array, batch: Sequences) -> Array:
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        targets = batch.targets.astype(logits.dtype)
        costs = jnp.mean(optax.sigmoid_binary_cross_entropy(logits, targets), axis=-1)
        return jnp.mean(costs, where=batch.valid)

    def scores(logits: Array, batch: Sequences) -> dict[str, Array]:
        right = jnp.all((logits > 0) == (batch.targets > 0), axis=-1)
        accepted = jnp.all(right, axis=0, where=batch.valid)
        return {"accuracy": jnp.mean(accepted)}

    return Objective(cost, scores)
