"""What single words and strings share: data, layer, head, and data augmentation (SpecAugment)."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Array, Cell, Params
from rnnjax.experiments._order import natural
from rnnjax.experiments.data import Padded, digest_files, pad
from rnnjax.experiments.data.audio import FrontEnd, Recordings, read_wav
from rnnjax.experiments.tasks._notes import counts_of, shortened
from rnnjax.experiments.tasks._task import no_data
from rnnjax.scenarios import Module, dropout
from rnnjax.unrolling import Layer


class Setup(NamedTuple):
    recordings: Recordings
    train: np.ndarray  # indices of recordings
    test: np.ndarray
    front_end: FrontEnd
    layer: Layer | Cell
    dropout: float
    spec_augment: bool
    batch_size: int

    def data(self) -> dict[str, Any]:
        """`Task.data`."""
        return {
            "words": list(self.recordings.labels),
            "rate": self.recordings.rate,
            "training_recordings": len(self.train),
            "test_recordings": len(self.test),
        }

    def notes(self) -> list[str]:
        """`Task.notes`."""
        entries = self.recordings.entries
        labels = sorted(self.recordings.labels, key=natural)
        words = counts_of(labels, (entries[i].label for i in self.train))
        trained, tested = ({entries[i].speaker for i in n} for n in (self.train, self.test))
        apart = sorted(tested - trained - {""}, key=natural)
        speakers = f" by other speakers, {shortened(apart)}" if apart else ""
        return [
            f"recordings at {self.recordings.rate:,} Hz: {len(self.train):,} for training, "
            f"{len(self.test):,} for testing{speakers}; training recordings of each word: {words}"
        ]

    def digest(self) -> str:
        """`Task.digest`."""
        paths = [entry.path for entry in self.recordings.entries if entry.path is not None]
        return digest_files(paths) if paths else no_data()

    def head(self, outputs: int) -> Module:
        return dropout(nn.Dense(outputs, param_dtype=jnp.result_type(float)), self.dropout)

    def init(self, model: Any) -> Callable[[Array], Params]:
        features = self.front_end.filters * self.front_end.frames_per_step
        return lambda key: model.init(key, jnp.zeros((1, 1, features)))

    def read(self, batch: Any, key: Array | None) -> tuple[Array, Array | None]:
        """The features of a batch, augmented in training, and a key for all other dropout."""
        xs = jnp.asarray(batch.xs, jnp.result_type(float))
        if key is None or not self.spec_augment:
            return xs, key
        key_augment, key = jax.random.split(key)
        return augment(key_augment, xs, jnp.asarray(batch.lengths), self.front_end.filters), key

    def of_files(self, files: Iterable[str | Path] | str | Path) -> Padded:
        """The features of one or more WAV files."""
        paths = [files] if isinstance(files, str | Path) else list(files or ())
        if not paths:
            raise ValueError("no files to read: expected the path of one WAV file, or several")
        return pad([self.front_end(read_wav(path, self.front_end.rate)) for path in paths])


def setup_for_inference(
    data: Mapping[str, Any], filters: int, frames_per_step: int, layer: Layer | Cell
) -> Setup:
    """A setup without recordings, from `Task.data`."""
    none = np.zeros(0, np.int64)
    recordings = Recordings((), _no_samples, data["rate"], tuple(data["words"]))
    front_end = FrontEnd(data["rate"], filters, frames_per_step)
    return Setup(recordings, none, none, front_end, layer, 0.0, False, 1)


def _no_samples(number: int) -> np.ndarray:
    raise IndexError(f"there is no recording {number}")


def augment(
    key: Array, xs: Array, lengths: Array, filters: int, *, band: float = 0.2, stretch: float = 0.15
) -> Array:
    """SpecAugment: mask one frequency band and one time span in each sequence.

    Masked features are zero, the mean of standardised features. Widths are uniform on
    0 … band · filters and 0 … stretch · length, positions uniform.

    Args:
      key: PRNG key.
      xs: `[T, B, k · filters]`, k frames per step.
      lengths: `[B]`.
      filters: features of one frame.
      band, stretch: largest shares that are masked.

    References:
      Park et al. (2019), SpecAugment: a simple data augmentation method for automatic speech
      recognition, Interspeech.
    """
    steps, batch, features = xs.shape
    key_band, key_stretch = jax.random.split(key)
    heights = jnp.full((batch,), filters)
    in_band = _span(key_band, filters, heights, band)  # [F, B]
    in_band = jnp.tile(in_band.T, (1, features // filters))[None]  # [1, B, k F]
    in_stretch = _span(key_stretch, steps, lengths, stretch)[..., None]  # [T, B, 1]
    return jnp.where(in_band | in_stretch, 0.0, xs)


def _span(key: Array, size: int, lengths: Array, share: float) -> Array:
    """`[size, B]`, true in one random span within each length."""
    width, place = jax.random.uniform(key, (2, *lengths.shape))
    lengths = lengths.astype(width.dtype)
    width = jnp.floor(width * (jnp.floor(share * lengths) + 1))
    first = jnp.floor(place * (lengths - width + 1))
    at = jnp.arange(size, dtype=width.dtype)[:, None]
    return (at >= first[None]) & (at < (first + width)[None])
