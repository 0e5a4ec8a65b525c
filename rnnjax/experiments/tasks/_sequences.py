"""Batches of sequences drawn from a key, and the objectives on them: loss and scores."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax._dtypes import at_least_float32, standard_promotion
from rnnjax._types import Array
from rnnjax.experiments.tasks._task import Batches
from rnnjax.scenarios import cross_entropy, squared_error


class Sequences(NamedTuple):
    """A batch; `valid` marks the steps whose targets count, if every step has a target."""

    xs: Array  # [T, B, D]
    targets: Array  # [T, B, ...] for each step, or [B, ...] for each sequence
    lengths: Array | None = None  # [B]; None: all of length T
    valid: Array | None = None  # [T, B]; None: all steps


Draw = Callable[[Array], Sequences]  # key -> batch


class _Drawn:
    """`batches[step]` is drawn from the seed's key folded with the step."""

    def __init__(self, draw: Draw, seed: int) -> None:
        self._draw, self._key = draw, jax.random.key(seed)

    def __getitem__(self, step: int, /) -> Sequences:
        return self._draw(jax.random.fold_in(self._key, step))


def drawn(draw: Draw) -> Callable[[int], Batches]:
    """seed -> training batches, drawn on the device on demand."""
    compiled = jax.jit(promoting(draw))
    return lambda seed: _Drawn(compiled, seed)


def promoting(draw: Draw) -> Draw:
    """`draw`, which may mix integers and floats."""

    def promote(key: Array) -> Sequences:
        with standard_promotion():
            return draw(key)

    return promote


def one_hot(symbols: Array, count: int) -> Array:
    """`symbols [...]` as floats `[..., count]`, in JAX's default float."""
    return jax.nn.one_hot(symbols, count, dtype=jnp.result_type(float))


def hits(logits: Array, labels: Array | np.ndarray) -> Array:
    """Whether the most probable class is the right one: logits `[..., K]`, labels `[...]`.

    No class is if one of the logits is NaN.
    """
    best = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    return (best == jnp.asarray(labels, jnp.int32)) & ~jnp.any(jnp.isnan(logits), axis=-1)


def valid_terms(batch: Sequences) -> Array:
    """How many steps or sequences the cost of an `Objective` is a mean over."""
    entries = jnp.ones(batch.targets.shape[:2], bool) if batch.valid is None else batch.valid
    return jnp.sum(entries)


class Objective(NamedTuple):
    cost: Callable[[Array, Sequences], Array]  # (outputs, batch) -> scalar, a mean
    scores: Callable[[Array, Sequences], dict[str, Array]]  # the same -> further means, by name


def classification() -> Objective:
    """One class per step or sequence: cross-entropy in nats, and accuracy."""

    def cost(logits: Array, batch: Sequences) -> Array:
        return cross_entropy(logits, batch.targets, batch.valid)

    def scores(logits: Array, batch: Sequences) -> dict[str, Array]:
        right = hits(logits, batch.targets)
        return {"accuracy": jnp.mean(right, where=batch.valid)}

    return Objective(cost, scores)


def regression(tolerance: float | None = None) -> Objective:
    """Regression: mean squared error, and the share of errors above `tolerance`, or NaN."""

    def cost(outputs: Array, batch: Sequences) -> Array:
        return squared_error(outputs, batch.targets, batch.valid)

    def scores(outputs: Array, batch: Sequences) -> dict[str, Array]:
        found = {"mse": cost(outputs, batch)}
        if tolerance is not None:
            off = ~(jnp.max(jnp.abs(outputs - batch.targets), axis=-1) <= tolerance)
            found["wrong"] = jnp.mean(off, where=batch.valid)
        return found

    return Objective(cost, scores)


def next_symbol_sets() -> Objective:
    """Next-symbol sets: binary predictions for K symbols, and the share of sequences accepted.

        C = -1/(N K) Σ y ln σ(z) + (1 - y) ln(1 - σ(z))

    A sequence is accepted if the prediction (z > 0) of every symbol is right at every step.
    """

    def cost(logits: Array, batch: Sequences) -> Array:
        logits = logits.astype(at_least_float32(logits))
        targets = batch.targets.astype(logits.dtype)
        costs = jnp.mean(optax.sigmoid_binary_cross_entropy(logits, targets), axis=-1)
        return jnp.mean(costs, where=batch.valid)

    def scores(logits: Array, batch: Sequences) -> dict[str, Array]:
        right = jnp.where(batch.targets > 0, logits > 0, logits <= 0)  # neither holds for NaN
        right = jnp.all(right, axis=-1)
        accepted = jnp.all(right, axis=0, where=batch.valid)
        return {"accuracy": jnp.mean(accepted)}

    return Objective(cost, scores)
