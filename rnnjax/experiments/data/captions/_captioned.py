"""Captioned pictures, and training batches of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnjax.experiments.data._batching import bucket_sizes, bucketed_batches, pad
from rnnjax.experiments.data.captions._words import Sentences

_STEP = 8  # captions whose lengths differ by less may share a batch


class Captioned(NamedTuple):
    """Pictures to be had by their number, each with its captions."""

    read: Callable[[int], np.ndarray]  # number -> [S, S, 3] uint8, or features given for it
    captions: Sequence[tuple[str, ...]]  # of each picture, at least one


class CaptionSource(NamedTuple):
    train: Captioned
    tests: Mapping[str, Captioned]  # "pictures", and of the generated set "combinations"


class CaptionBatch(NamedTuple):
    """Pictures, and a caption of each."""

    pictures: np.ndarray  # [B, S, S, 3] uint8, or given features [B, ...]
    words: np.ndarray  # [T, B] int32, the mark of the end included
    lengths: np.ndarray  # [B]


def caption_batches(train: Captioned, sentences: Sentences, batch_size: int, seed: int) -> Any:
    """Batches to be had by their step; an epoch holds every caption that fills one, once.

    Pictures are read as the batch is asked for.

    Args:
      train: the pictures.
      sentences: their captions.
      batch_size: B, or all captions where they are fewer.
      seed: of the order.

    Returns:
      A `grain.MapDataset` of `CaptionBatch`.
    """
    sizes = bucket_sizes(sentences.lengths)

    def load(numbers: np.ndarray) -> CaptionBatch:
        pictures = np.stack([train.read(int(sentences.pictures[k])) for k in numbers.tolist()])
        return CaptionBatch(pictures, *pad([sentences[k] for k in numbers.tolist()], sizes=sizes))

    lengths = -(-sentences.lengths // _STEP)
    size = min(batch_size, len(sentences))
    return bucketed_batches(lengths, size, seed, drop_remainder=True).map(load)
