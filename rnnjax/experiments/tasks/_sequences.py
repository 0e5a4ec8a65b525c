"""Batches of sequences that are drawn from a key."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array
from rnnjax.experiments.tasks._task import Batches


class Sequences(NamedTuple):
    """A batch; `valid` marks the steps that are judged, where every step has a target."""

    xs: Array  # [T, B, D]
    targets: Array  # [T, B, ...] one a step, or [B, ...] one a sequence
    lengths: Array | None = None  # [B]; None: all are T long
    valid: Array | None = None  # [T, B]; None: all steps


Draw = Callable[[Array], Sequences]  # key -> batch


class _Drawn:
    """`drawn[step]` is drawn from the seed's key folded with the step."""

    def __init__(self, draw: Draw, seed: int) -> None:
        self._draw, self._key = draw, jax.random.key(seed)

    def __getitem__(self, step: int, /) -> Sequences:
        return self._draw(jax.random.fold_in(self._key, step))


def drawn(draw: Draw) -> Callable[[int], Batches]:
    """seed -> training batches, made on the device as they are asked for."""
    compiled = jax.jit(draw)
    return lambda seed: _Drawn(compiled, seed)


def one_hot(symbols: Array, count: int) -> Array:
    """`symbols [...]` as floats `[..., count]`, in JAX's default float."""
    return jax.nn.one_hot(symbols, count, dtype=jnp.result_type(float))
