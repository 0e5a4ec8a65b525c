"""Captioned pictures, and training batches of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnjax.experiments.data._batching import bucket_sizes, bucketed_batches, pad
from rnnjax.experiments.data.captions._words import Sentences

_STEP = 8  # captions whose lengths differ by less may share a batch


class Captioned(NamedTuple):
    """Pictures that are read on demand, each with its captions."""

    read: Callable[[int], np.ndarray]  # index -> [S, S, 3] uint8, or precomputed features
    captions: Sequence[tuple[str, ...]]  # of each picture, at least one


class CaptionSource(NamedTuple):
    train: Captioned
    tests: Mapping[str, Captioned]  # "pictures"; for synthetic data also "combinations"
    paths: Sequence[Path] = ()  # files that hold the pictures or their features


class CaptionBatch(NamedTuple):
    """Pictures, and one caption of each."""

    pictures: np.ndarray  # [B, S, S, 3] uint8, or precomputed features [B, ...]
    words: np.ndarray  # [T, B] int32, the end token included
    lengths: np.ndarray  # [B]


def caption_batches(train: Captioned, sentences: Sentences, batch_size: int, seed: int) -> Any:
    """Endless training batches, indexed by step; an epoch has each caption at most once.

    Pictures are read when their batch is requested.

    Args:
      train: the pictures.
      sentences: their captions.
      batch_size: B; all captions if there are fewer.
      seed: of the shuffle.

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
