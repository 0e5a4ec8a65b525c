"""Features and batches of recordings: single words, and random strings of words."""

import math
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rnnjax.experiments.data._batching import bucket_sizes, pad
from rnnjax.experiments.data._storage import cached
from rnnjax.experiments.data.audio._mel import log_mel, standardise
from rnnjax.experiments.data.audio._recordings import Recordings

WINDOW, HOP = 0.025, 0.010  # seconds
_PAUSE = 0.15  # seconds, the longest pause between two words of a string


class WordBatch(NamedTuple):
    """A batch of recordings of one word each."""

    xs: np.ndarray  # [T, B, D]
    lengths: np.ndarray  # [B]
    labels: np.ndarray  # [B]


class StringBatch(NamedTuple):
    """A batch of recordings of several words each; label 0 is CTC's blank."""

    xs: np.ndarray  # [T, B, D]
    lengths: np.ndarray  # [B]
    labels: np.ndarray  # [L, B] from 1 on
    label_lengths: np.ndarray  # [B]


class FrontEnd(NamedTuple):
    """Feature extraction: standardised log-mel features of several frames per step."""

    rate: int
    filters: int
    frames_per_step: int  # frames that are concatenated into one step

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Features `[T, frames_per_step · filters]` of samples `[N]`, standardised."""
        frames = standardise(
            log_mel(samples, self.rate, filters=self.filters, window=WINDOW, hop=HOP)
        )
        steps = -(-len(frames) // self.frames_per_step)
        frames = np.pad(frames, ((0, steps * self.frames_per_step - len(frames)), (0, 0)))
        return frames.reshape(steps, -1)

    def bytes_of(self, count: int) -> tuple[int, int]:
        """The memory that the spectrum of `count` samples takes, and that of the mel filters."""
        bins = 2 ** math.ceil(math.log2(max(1, round(WINDOW * self.rate)))) + 1
        frames = self._replace(frames_per_step=1).steps(count)
        return 16 * bins * frames, 8 * bins * self.filters

    def steps(self, count: int) -> int:
        """T for `count` samples."""
        beyond = max(0, count - round(WINDOW * self.rate))
        return math.ceil((1 + math.ceil(beyond / round(HOP * self.rate))) / self.frames_per_step)


def word_loader(
    recordings: Recordings, front_end: FrontEnd
) -> tuple[np.ndarray, Callable[[np.ndarray], WordBatch]]:
    """The lengths `[N]` of all recordings in steps, and a function from indices to a batch."""
    lengths = np.array([front_end.steps(entry.size) for entry in recordings.entries])
    sizes = bucket_sizes(lengths)
    names = {label: k for k, label in enumerate(recordings.labels)}
    labels = np.array([names[entry.label] for entry in recordings.entries], np.int32)
    features = cached(lambda k: front_end(recordings.samples(k)))

    def load(numbers: np.ndarray) -> WordBatch:
        return WordBatch(*pad([features(k) for k in numbers], sizes=sizes), labels[numbers])

    return lengths, load


class StringSource:
    """Batches of random strings of words, each by one speaker, drawn from the seed and the step."""

    def __init__(
        self,
        recordings: Recordings,
        front_end: FrontEnd,
        numbers: Sequence[int] | np.ndarray,
        longest: int,
        batch_size: int,
        seed: int,
    ) -> None:
        self._recordings, self._front_end = recordings, front_end
        self._longest, self._batch_size, self._seed = longest, batch_size, seed
        self._names = {label: k + 1 for k, label in enumerate(recordings.labels)}
        by_speaker: dict[str, list[int]] = {}
        for k in numbers:
            by_speaker.setdefault(recordings.entries[k].speaker, []).append(int(k))
        self._speakers = list(by_speaker.values())

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, step: int, /) -> StringBatch:
        random = np.random.default_rng((self._seed, step))
        words = int(random.integers(1, self._longest + 1))  # the same for the whole batch
        drawn = [self._draw(random, words) for _ in range(self._batch_size)]
        padded = pad([self._front_end(samples) for samples, _ in drawn])
        labels = np.zeros((self._longest, len(drawn)), np.int32)
        labels[:words] = np.array([said for _, said in drawn]).T
        return StringBatch(*padded, labels, np.full(len(drawn), words, np.int32))

    def _draw(self, random: np.random.Generator, words: int) -> tuple[np.ndarray, list[int]]:
        speaker = self._speakers[random.integers(len(self._speakers))]
        numbers = [speaker[k] for k in random.integers(len(speaker), size=words)]
        parts: list[np.ndarray] = []
        for number in numbers:
            samples = self._recordings.samples(number)
            quiet = np.quantile(np.abs(samples), 0.1)  # the level of background noise
            pause = random.integers(int(_PAUSE * self._recordings.rate))
            parts += [quiet * random.normal(size=pause), samples]
        said = [self._names[self._recordings.entries[number].label] for number in numbers]
        return np.concatenate(parts), said
