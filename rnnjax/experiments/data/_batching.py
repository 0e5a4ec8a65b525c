"""Padding to a few fixed lengths, and bucketing: batches of sequences of similar length."""

import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from rnnjax._arguments import check_positive_int, checked_arguments
from rnnjax._extras import optional


class Padded(NamedTuple):
    xs: np.ndarray  # [T, B, ...], zeros past each length
    lengths: np.ndarray  # [B] int32


@checked_arguments
def pad(arrays: Sequence[Any], *, sizes: Sequence[int] | None = None, fill: float = 0) -> Padded:
    """Stack sequences of different lengths, time first and padded on the right.

    T is rounded up to one of a few sizes, so that `jit` compiles for few shapes.

    Args:
      arrays: B arrays `[t, ...]` that differ only in t: features `[t, D]` or token ids `[t]`.
      sizes: the values that T may take; None for 8, 12, 16, 24, 32, 48, 64, … (powers of two
        and 1.5 times those, so at most a third is padding).
      fill: the value of the padding.

    Returns:
      `Padded(xs [T, B, ...], lengths [B])`; xs has the dtype of the arrays.

    Raises:
      ValueError: no arrays, arrays whose features differ in shape, or one longer than
        every size; a fill that the dtype does not hold, such as 0.5 among integers.

    Example:
      >>> xs, lengths = pad([[3, 1, 4, 1], [5, 9]], sizes=[5, 10])
      >>> xs.T.tolist(), lengths.tolist()
      ([[3, 1, 4, 1, 0], [5, 9, 0, 0, 0]], [4, 2])
    """
    parts = [np.asarray(array) for array in arrays]
    if not parts:
        raise ValueError("pad() needs at least one array")
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1 or any(part.ndim == 0 for part in parts):
        raise ValueError(f"expected arrays [t, ...] that differ in t alone, got {shapes}")
    lengths = np.array([len(part) for part in parts], np.int32)
    steps = _rounded(int(lengths.max()), sizes)
    dtype = np.result_type(*parts)
    _check_fill(fill, dtype)
    xs = np.full((steps, len(parts), *shapes.pop()), fill, dtype)
    for b, part in enumerate(parts):
        xs[: len(part), b] = part
    return Padded(xs, lengths)


def _check_fill(fill: float, dtype: np.dtype) -> None:
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not (float(fill).is_integer() and limits.min <= fill <= limits.max):
            raise ValueError(f"fill must be a number that {dtype} holds, got {fill}")


def _rounded(length: int, sizes: Sequence[int] | None) -> int:
    if sizes is not None:
        fits = [size for size in sizes if size >= length]
        if not fits:
            raise ValueError(f"a sequence has {length} steps, more than the largest size {sizes}")
        return min(fits)
    power = 8
    while power < length:
        if 3 * power // 2 >= length:
            return 3 * power // 2
        power *= 2
    return power


@checked_arguments
def bucket_sizes(lengths: Sequence[int] | np.ndarray, count: int = 4) -> list[int]:
    """At most `count` sizes for `pad`: quantiles of `lengths`, the last of them the maximum."""
    check_positive_int("count", count)
    ordered = np.sort(_checked(lengths))
    if not ordered.size:
        raise ValueError("bucket_sizes() needs the length of at least one example")
    last = [len(ordered) * (k + 1) // count - 1 for k in range(count)]
    return sorted({max(1, int(ordered[max(0, k)])) for k in last})


@checked_arguments
def bucketed_batches(
    lengths: Sequence[int] | np.ndarray,
    batch_size: int,
    seed: int = 0,
    *,
    drop_remainder: bool = False,
    mixing: float = 0.1,
) -> Any:
    """Endless batches of examples of similar length, indexed by training step.

    Every epoch of `steps_per_epoch(len(lengths), batch_size, …)` batches contains each example
    once. The examples are sorted by length times a random factor in 1 ± mixing, cut into batches,
    and the batches shuffled. Each epoch's order depends only on the seed and the epoch, so a
    resumed run needs only its step.

    Args:
      lengths: of the N examples.
      batch_size: B. If it does not divide N, one batch of each epoch is smaller.
      seed: of the shuffle.
      drop_remainder: leave out that batch; which examples are in it differs from epoch to epoch.
      mixing: how much noise the sort has, in [0, 1); 0 sorts strictly by length.

    Returns:
      A `grain.MapDataset` of arrays `[B]` of example indices; `.map(load)` makes batches.

    Raises:
      ImportError: grain is not installed.
      ValueError: no examples, or fewer than a batch with `drop_remainder`; lengths that are not
        one finite number for each example, or mixing out of range.

    Example:
      >>> batches = bucketed_batches([5, 90, 4, 95], 2, seed=1)
      >>> sorted(sorted(batches[step].tolist()) for step in (0, 1))
      [[0, 2], [1, 3]]
    """
    check_positive_int("batch_size", batch_size)
    if not 0 <= mixing < 1:
        raise ValueError(f"mixing must be at least 0 and below 1, got {mixing}")
    order = _Order(_checked(lengths), batch_size, seed, drop_remainder, mixing)
    return optional("grain").MapDataset.source(order)


@checked_arguments
def steps_per_epoch(examples: int, batch_size: int, *, drop_remainder: bool = False) -> int:
    """The number of batches in an epoch."""
    check_positive_int("batch_size", batch_size)
    return examples // batch_size if drop_remainder else -(-examples // batch_size)


@checked_arguments
def batches_by_length(lengths: Sequence[int] | np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Index batches `[B]` for evaluation: each example once, the shortest first."""
    check_positive_int("batch_size", batch_size)
    order = np.argsort(_checked(lengths), kind="stable")
    return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]


def _checked(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """`lengths` as an array `[N]`, if they are numbers that lengths may be."""
    array = np.asarray(lengths)
    if array.ndim != 1:
        raise ValueError(
            "lengths must be one number for each example, [N], got "
            f"{array.dtype}{list(array.shape)}"
        )
    wrong = array[~(np.isfinite(array) & (array >= 0))]
    if wrong.size:
        raise ValueError(f"lengths must be finite and at least 0, got {wrong[0]}")
    return array


class _Order:
    """Example indices of each batch, as a data source for grain."""

    def __init__(
        self, lengths: np.ndarray, size: int, seed: int, drop_remainder: bool, mixing: float
    ) -> None:
        self.steps = steps_per_epoch(len(lengths), size, drop_remainder=drop_remainder)
        if self.steps == 0:
            raise ValueError(f"{len(lengths)} examples do not fill a batch of {size}")
        self._given = (lengths, size, seed, drop_remainder, mixing)
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Order, self._given

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, step: int, /) -> np.ndarray:
        return self._epoch(step // self.steps)[step % self.steps]

    def _shuffled(self, epoch: int) -> list[np.ndarray]:
        lengths, size, seed, drop, mixing = self._given
        random = np.random.default_rng((seed, epoch))
        near = lengths * (1 + mixing * random.uniform(-1, 1, len(lengths)))
        order = random.permutation(len(lengths))
        order = order[np.argsort(near[order], kind="stable")]
        sizes = [size] * (len(lengths) // size)
        rest = len(lengths) - sum(sizes)
        at = int(random.integers(len(sizes) + 1))  # position of the smaller batch
        cuts = np.cumsum([*sizes[:at], rest, *sizes[at:]])[:-1]
        batches = np.split(order, cuts)
        small = batches.pop(at)
        if rest and not drop:
            batches.append(small)
        return [batches[k] for k in random.permutation(len(batches))]
