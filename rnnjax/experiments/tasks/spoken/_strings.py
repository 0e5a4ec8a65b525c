"""Recognition of strings of words by connectionist temporal classification (CTC)."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._extras import optional
from rnnjax._types import Array, Carry, Params
from rnnjax.experiments.data.audio import StringBatch, StringSource
from rnnjax.experiments.tasks._recipes import STRINGS
from rnnjax.experiments.tasks._task import Metric, Model, Task
from rnnjax.experiments.tasks.spoken._ctc import ctc_greedy, label_error_rate
from rnnjax.experiments.tasks.spoken._setup import Setup
from rnnjax.scenarios import ManyToMany, ctc, many_to_many

_TEST_SEED = 271_828_182
_TEST_BATCHES, _AT_ONCE = 16, 32  # of the test strings
_Files = Iterable[str | Path] | str | Path


def string_task(setup: Setup, longest: int) -> Task:
    """The task of transcribing strings of words, without alignments."""
    recordings, front_end = setup.recordings, setup.front_end
    model, logits_of = _net(setup)
    held_out = StringSource(recordings, front_end, setup.test, longest, _AT_ONCE, _TEST_SEED)

    def loss(params: Params, carry: Carry, batch: StringBatch, key: Array | None):
        del carry
        xs, key = setup.read(batch, key)
        _, logits = model.apply(params, xs, lengths=batch.lengths, key=key)
        lengths, labels, counts = map(jnp.asarray, batch[1:])
        return ctc(logits, lengths, labels, counts, zero_infinity=True), (None, {})

    def evaluate(params: Params) -> dict[str, float]:
        decoded: list[list[int]] = []
        references: list[list[int]] = []
        for step in range(_TEST_BATCHES):
            batch = held_out[step]
            logits = logits_of(params, setup.read(batch, None)[0], batch.lengths)
            decoded += ctc_greedy(np.asarray(logits), batch.lengths)
            pairs = zip(batch.labels.T.tolist(), batch.label_lengths, strict=True)
            references += [labels[:count] for labels, count in pairs]
        exact = float(np.mean([a == b for a, b in zip(decoded, references, strict=True)]))
        return {"label_error_rate": label_error_rate(decoded, references), "exact": exact}

    def batches(seed: int) -> Any:
        return optional("grain").MapDataset.source(
            StringSource(recordings, front_end, setup.train, longest, setup.batch_size, seed)
        )

    return Task(
        name="speech",
        init=setup.init(model),
        loss=loss,
        batches=batches,
        evaluate=evaluate,
        metric=Metric("label_error_rate", "min"),
        recipe=STRINGS,
        baselines={"empty string": 1.0},
        infer={"transcribe": _transcribe(setup, logits_of)},
        data=setup.data(),
        notes=setup.notes(),
        digest=setup.digest,
    )


def string_model(setup: Setup) -> Model:
    """The model of the task alone."""
    model, logits_of = _net(setup)
    return Model(setup.init(model), {"transcribe": _transcribe(setup, logits_of)})


def _net(setup: Setup) -> tuple[ManyToMany, Callable[..., Array]]:
    model = many_to_many(setup.layer, setup.head(len(setup.recordings.labels) + 1))
    return model, jax.jit(lambda params, xs, lengths: model.apply(params, xs, lengths=lengths)[1])


def _transcribe(
    setup: Setup, logits_of: Callable[..., Array]
) -> Callable[[Params, _Files], list[str]]:
    def transcribe(params: Params, files: _Files) -> list[str]:
        """The words in each WAV file, separated by spaces."""
        xs, lengths = setup.of_files(files)
        decoded = ctc_greedy(np.asarray(logits_of(params, jnp.asarray(xs), lengths)), lengths)
        return [" ".join(setup.recordings.labels[k - 1] for k in found) for found in decoded]

    return transcribe
