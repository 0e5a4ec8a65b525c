"""What the two forms of the task have in common."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Array, Cell, Params
from rnnjax.experiments.tasks._batching import Padded, pad
from rnnjax.experiments.tasks.spoken._examples import FrontEnd
from rnnjax.experiments.tasks.spoken._masks import blanked
from rnnjax.experiments.tasks.spoken._recordings import Recordings
from rnnjax.experiments.tasks.spoken._wav import read_wav
from rnnjax.scenarios import Module, dropout
from rnnjax.unrolling import Layer


class Setup(NamedTuple):
    recordings: Recordings
    train: np.ndarray  # numbers of recordings
    test: np.ndarray
    front_end: FrontEnd
    layer: Layer | Cell
    dropout: float
    blanks: bool
    batch_size: int

    def head(self, outputs: int) -> Module:
        return dropout(nn.Dense(outputs, param_dtype=jnp.result_type(float)), self.dropout)

    def init(self, model: Any) -> Callable[[Array], Params]:
        features = self.front_end.filters * self.front_end.together
        return lambda key: model.init(key, jnp.zeros((1, 1, features)))

    def read(self, batch: Any, key: Array | None) -> tuple[Array, Array | None]:
        """A batch's features, with blanks in training, and the key for all other dropout."""
        xs = jnp.asarray(batch.xs, jnp.result_type(float))
        if key is None or not self.blanks:
            return xs, key
        key_blanks, key = jax.random.split(key)
        return blanked(key_blanks, xs, jnp.asarray(batch.lengths), self.front_end.filters), key

    def of_files(self, files: Iterable[str | Path] | str | Path) -> Padded:
        """The features of WAV files, one of them or several."""
        paths = [files] if isinstance(files, str | Path) else list(files)
        if not paths:
            raise ValueError("there are no files to read: expected the path of a WAV file, or more")
        return pad([self.front_end(read_wav(path, self.front_end.rate)) for path in paths])
