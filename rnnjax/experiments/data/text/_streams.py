"""A long text cut into parallel streams, for truncated BPTT that carries its state along."""

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from rnnjax._arguments import check_positive_int
from rnnjax._extras import optional


class StreamBatch(NamedTuple):
    tokens: np.ndarray  # [T, B] int32, where stream b goes on from the batch before
    targets: np.ndarray  # [T, B] int32, the tokens that follow
    start: np.ndarray  # [] bool: the streams start anew here, and so does the state


class _Windows:
    """`windows[step]`: a source for grain."""

    def __init__(self, ids: np.ndarray, streams: int, steps: int, seed: int, name: str) -> None:
        self.ids, self.streams, self.steps, self.seed = ids, streams, steps, seed
        self.per_epoch = len(ids) // (streams * steps)
        if self.per_epoch == 0:
            raise ValueError(
                f"{name} has {len(ids)} tokens, and a batch of {streams} streams of "
                f"{steps} steps takes {streams * steps}: ask for less, or give more text"
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
    """Endless training batches, each of which goes on where the one before it ended.

    The text, taken as a ring, is cut into `batch_size` streams side by side; step by step a
    window moves along all of them. At each epoch of `len(ids) // (batch_size · steps)` batches
    the ring is cut at other places, drawn from the seed and the epoch.

    Args:
      ids: `[n]` the text, in memory or mapped from disk.
      batch_size: B, the number of streams.
      steps: T, over how many the error is sent back.
      seed: of the cuts.
      name: what errors call the text.

    Returns:
      A `grain.MapDataset` of `StreamBatch`: each is had from its step alone.

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
    valid: np.ndarray  # [T, B] bool: what is scored


def held_out_windows(
    train: np.ndarray, held_out: np.ndarray, count: int, steps: int, context: int
) -> Iterator[HeldOutWindow]:
    """The held-out text in `count` streams, every token of it scored exactly once.

    So that no stream begins without knowing anything, each first reads the `context` tokens
    before it, unscored: those before the first are the end of the training text.
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
