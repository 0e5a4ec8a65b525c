"""Batches of recordings: the front end, and strings of words by one speaker."""

import numpy as np
import pytest

from rnnjax.experiments.data.audio import (
    FrontEnd,
    StringSource,
    _examples,
    log_mel,
    standardise,
    synthetic_recordings,
)
from rnnjax.experiments.data.audio._formants import RATE


@pytest.fixture(scope="module")
def recordings():
    return synthetic_recordings(4, 1)


def test_steps_of_the_front_end_are_counted_without_reading():
    front_end = FrontEnd(8000, 10, 3)
    for count in (1, 199, 200, 201, 280, 281, 440, 3999):
        samples = np.random.default_rng(count).normal(size=count)
        found = front_end(samples)
        assert len(found) == front_end.steps(count)
        frames = standardise(log_mel(samples, 8000, filters=10))
        together = found.reshape(-1, 10)
        np.testing.assert_array_equal(together[: len(frames)], frames)
        assert not together[len(frames) :].any()


def test_strings_are_words_of_one_speaker_with_pauses(monkeypatch, recordings):
    monkeypatch.setattr(_examples, "_PAUSE", 0.01)
    source = StringSource(recordings, FrontEnd(RATE, 10, 3), range(30), 4, 5, seed=2)
    counts = set()
    for step in range(12):
        batch = source[step]
        again = source[step]
        np.testing.assert_array_equal(batch.xs, again.xs)
        (count,) = set(batch.label_lengths.tolist())
        counts.add(count)
        assert batch.labels.shape == (4, 5)
        assert batch.labels[:count].min() >= 1
        assert not batch.labels[count:].any()
        for labels, length in zip(batch.labels.T, batch.lengths, strict=True):
            sizes = [
                sum(e.size for label in labels[:count] for e in by[label])
                for by in by_speaker(recordings)
            ]
            steps = [size / RATE / 0.03 for size in sizes]
            assert any(n - 1 < length < n + 3 for n in steps)
    assert counts == {1, 2, 3, 4}


def by_speaker(recordings):
    """For each training speaker, label number -> the one recording of it."""
    for speaker in ("speaker0", "speaker1", "speaker2"):
        own = [e for e in recordings.entries if e.speaker == speaker]
        yield {int(e.label) + 1: [e] for e in own}
