"""What is computed: a cell, a size and a form, with the same numbers for every library."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax

Pass = Literal["forward", "train"]
Form = Literal["plain", "layers2", "bidirectional", "ragged"]
Blocks = tuple[Any, ...]  # params of rnnjax's cells as NumPy arrays, one a layer or direction
PASSES: tuple[Pass, ...] = ("forward", "train")
FORMS: tuple[Form, ...] = ("plain", "layers2", "bidirectional", "ragged")
CELLS: dict[str, Callable[..., rnnjax.Cell]] = {
    "rnn": rnnjax.vanilla,
    "lstm": rnnjax.lstm,
    "gru": rnnjax.gru,
}
LINEAR: dict[str, Callable[..., rnnjax.Cell]] = {"min_gru": rnnjax.min_gru, "lru": rnnjax.lru}
"""Cells that are linear in their carry, which the peers do not have."""
ALL_CELLS = {**CELLS, **LINEAR}
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


class Unsupported(Exception):  # noqa: N818 (an answer, not an error)
    """What a library does not do, as a sentence to show."""


class Size(NamedTuple):
    """T steps, B sequences, I inputs, H units, and how the cells are put together."""

    T: int
    B: int
    I: int  # noqa: E741
    H: int
    form: Form = "plain"

    def __str__(self) -> str:
        return self.numbers if self.form == "plain" else f"{self.numbers}:{self.form}"

    @property
    def numbers(self) -> str:
        return f"{self.T},{self.B},{self.I},{self.H}"


def parse_size(text: str) -> Size:
    """`"128,32,128,256"` or `"128,32,128,256:ragged"`."""
    numbers, _, form = text.partition(":")
    try:
        T, B, I, H = map(int, numbers.split(","))  # noqa: E741
    except ValueError:
        raise ValueError(f"a size is T,B,I,H or T,B,I,H:form, got {text!r}") from None
    if min(T, B, I, H) < 1:
        raise ValueError(f"T, B, I and H are at least 1, got {text!r}")
    for known in FORMS:
        if known == (form or "plain"):
            return Size(T, B, I, H, known)
    raise ValueError(f"the form of a size is one of {', '.join(FORMS)}, got {form!r}")


class Problem(NamedTuple):
    """Float32 NumPy arrays, time first; the loss of a train step is Σ weights ⊙ ys."""

    cell: str
    size: Size
    blocks: Blocks
    xs: np.ndarray  # [T, B, I]
    weights: np.ndarray  # [T, B, K·H], zero in the padding
    lengths: np.ndarray | None  # [B] int32, the longest first, if ragged


def make_problem(cell: str, size: Size, seed: int = 0) -> Problem:
    """The GRU's b_hn stays 0: `nnx.GRUCell` has none. The other biases are drawn."""
    rng = np.random.default_rng(seed)
    keys = jax.random.split(jax.random.key(seed), 2)
    widths = {"layers2": (size.I, size.H), "bidirectional": (size.I, size.I)}
    inputs = widths.get(size.form, (size.I,))
    factory = ALL_CELLS[cell](size.H, dtype=jnp.float32)
    blocks = tuple(
        _with_bias(factory.init(key, width), rng)
        for key, width in zip(keys[: len(inputs)], inputs, strict=True)
    )
    outputs = size.H * (2 if size.form == "bidirectional" else 1)
    xs = rng.standard_normal((size.T, size.B, size.I), np.float32)
    weights = rng.standard_normal((size.T, size.B, outputs), np.float32)
    lengths = None
    if size.form == "ragged":
        lengths = ragged_lengths(size)
        weights *= valid_steps(lengths, size.T)
    return Problem(cell, size, blocks, xs, weights, lengths)


def _with_bias(params: Any, rng: np.random.Generator) -> Any:
    arrays = jax.tree.map(np.asarray, params)
    if "b" not in arrays._fields:
        return arrays
    return arrays._replace(b=arrays.b + 0.1 * rng.standard_normal(arrays.b.shape, np.float32))


def ragged_lengths(size: Size) -> np.ndarray:
    """[B] int32, evenly from T down to T / 4."""
    return np.linspace(size.T, max(1, size.T // 4), size.B).astype(np.int32)


def valid_steps(lengths: np.ndarray, T: int) -> np.ndarray:
    """[T, B, 1] float32: 1 where a sequence has not ended."""
    return (np.arange(T)[:, None] < lengths)[..., None].astype(np.float32)


def flops(cell: str, size: Size, which: Pass) -> float:
    """Floating operations of the matrix products alone: the floor of what must be computed.

    Forward, x_t W_x and h_{t-1} W_h take 2 B (I + H) G H each step; a train step takes the same
    again for ∂C/∂x_t and ∂C/∂h_{t-1}, and once more for the weights' gradients. Of ragged
    sequences, steps past the end do not count. NaN for linear cells, which memory bounds.
    """
    if cell not in GATES:
        return float("nan")
    rows = int(ragged_lengths(size).sum()) if size.form == "ragged" else size.T * size.B
    inputs = {"layers2": size.I + size.H, "bidirectional": 2 * size.I}.get(size.form, size.I)
    blocks = 2 if size.form in ("layers2", "bidirectional") else 1
    forward = 2.0 * rows * (inputs + blocks * size.H) * GATES[cell] * size.H
    return forward * (3 if which == "train" else 1)
