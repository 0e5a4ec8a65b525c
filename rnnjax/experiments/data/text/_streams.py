"""Parallel streams of a long text, for stateful truncated BPTT and for evaluation."""

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from rnnjax._arguments import check_positive_int
from rnnjax._extras import optional


class StreamBatch(NamedTuple):
    tokens: np.ndarray  # [T, B] int32; each stream continues that of the batch before
    targets: np.ndarray  # [T, B] int32, the next tokens
    start: np.ndarray  # [] bool: whether the streams start anew, and with them the carry


class _Windows:
    """`windows[step]`, as a data source for grain."""

    def __init__(self, ids: np.ndarray, streams: int, steps: int, seed: int, name: str) -> None:
        self.ids, self.streams, self.steps, self.seed = ids, streams, steps, seed
        self.per_epoch = len(ids) // (streams * steps)
        if self.per_epoch == 0:
            raise ValueError(
                f"{name} has {len(ids)} tokens, and a batch of {streams} streams of "
                f"{steps} steps takes {streams * steps}: use a smaller batch, or a longer text"
            )

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, step: int, /) -> StreamBatch:
        epoch, window = divmod(step, self.per_epoch)
        shift = int(np.random.default_rng((self.seed, epoch)).integers(len(self.ids)))
        begins = shift + self.steps * (window + self.per_epoch * np.arange(self.streams))
        places = (begins + np.arange(self.steps + 1)[:, None]) % len(self.ids)
        tokens = self.ids[places].astype(np.int32)
        return StreamBatch(tokens[:-1], tokens[1:], np.asarray(window == 0))


def streams(
    ids: np.ndarray,
    batch_size: int,
    steps: int,
    seed: int = 0,
    *,
    name: str = "the training text",
) -> Any:
    """Endless training batches, each of which continues the one before it.

    The text, as a ring, is cut into `batch_size` parallel streams, along which a window of `steps`
    moves. In each epoch of `len(ids) // (batch_size · steps)` batches the ring is cut at other
    positions, drawn from the seed and the epoch.

    Args:
      ids: `[n]` token ids of the text, in memory or memory-mapped.
      batch_size: B, the number of streams.
      steps: T, the truncation length.
      seed: of the cuts.
      name: of the text in error messages.

    Returns:
      A `grain.MapDataset` of `StreamBatch`, indexed by step.

    Raises:
      ImportError: grain is not installed.
      ValueError: a text too short for one batch.

    Example:
      >>> batches = streams(np.arange(20), batch_size=2, steps=5)
      >>> bool((batches[1].tokens[0] == batches[0].targets[-1]).all()), bool(batches[1].start)
      (True, False)

    References:
      Williams & Peng (1990), An efficient gradient-based algorithm for on-line training of
      recurrent network trajectories, Neural Computation 2.
    """
    check_positive_int("batch_size", batch_size)
    check_positive_int("steps", steps)
    return optional("grain").MapDataset.source(_Windows(ids, batch_size, steps, seed, name))


class HeldOutWindow(NamedTuple):
    tokens: np.ndarray  # [T, B]
    targets: np.ndarray  # [T, B]
    valid: np.ndarray  # [T, B] bool: which targets are scored


def held_out_windows(
    train: np.ndarray, held_out: np.ndarray, count: int, steps: int, context: int
) -> Iterator[HeldOutWindow]:
    """The held-out text in `count` parallel streams, in which every token is scored exactly once.

    Each stream first reads the `context` tokens before it, unscored, so that it does not start
    from an empty state; those before the first are the end of the training text.
    """
    context = min(context, len(train))
    text = np.concatenate([train[len(train) - context :], held_out]).astype(np.int32)
    each = -(-len(held_out) // count)
    begins = each * np.arange(count)
    for at in range(0, context + each - 1, steps):
        t = np.arange(at, min(at + steps, context + each - 1))[:, None]
        places = begins + t
        valid = (t + 1 >= context) & (places + 1 < len(text))
        last = len(text) - 1
        yield HeldOutWindow(
            text[np.minimum(places, last)], text[np.minimum(places + 1, last)], valid
        )
