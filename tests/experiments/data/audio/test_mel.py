"""Log-mel features against their formula, written out frame by frame."""

import numpy as np
import pytest

from rnnjax.experiments.data import log_mel
from rnnjax.experiments.data.audio import standardise
from rnnjax.experiments.data.audio._mel import FLOOR


def reference(samples, rate, filters, window, hop):
    width, step = round(window * rate), round(hop * rate)
    size = 2
    while size < 2 * width:
        size *= 2
    mel = lambda f: 2595 * np.log10(1 + f / 700)  # noqa: E731
    hertz = lambda m: 700 * (10 ** (m / 2595) - 1)  # noqa: E731
    corners = [hertz(k * mel(rate / 2) / (filters + 1)) for k in range(filters + 2)]
    frames, start = [], 0
    while True:
        frame = np.zeros(width)
        part = samples[start : start + width]
        frame[: len(part)] = part
        frame *= [0.5 - 0.5 * np.cos(2 * np.pi * n / width) for n in range(width)]
        turns = np.exp(-2j * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(width)) / size)
        power = np.abs(turns @ frame) ** 2
        row = []
        for low, centre, high in zip(corners, corners[1:], corners[2:], strict=False):
            energy = 0.0
            for k, p in enumerate(power):
                f = k * rate / size
                if low < f <= centre:
                    energy += p * (f - low) / (centre - low)
                elif centre < f < high:
                    energy += p * (high - f) / (high - centre)
            row.append(np.log(max(energy, FLOOR)))
        frames.append(row)
        if start + width >= len(samples):
            return np.array(frames)
        start += step


@pytest.mark.parametrize(
    ("count", "rate", "filters", "window", "hop"),
    [(700, 8000, 12, 0.025, 0.010), (50, 8000, 5, 0.025, 0.010), (900, 16000, 20, 0.020, 0.008)],
)
def test_formula(count, rate, filters, window, hop):
    samples = np.random.default_rng(count).normal(size=count)
    found = log_mel(samples, rate, filters=filters, window=window, hop=hop)
    expected = reference(samples, rate, filters, window, hop)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_silence_is_finite():
    np.testing.assert_allclose(log_mel(np.zeros(500), 8000), np.log(FLOOR), rtol=1e-6)


@pytest.mark.parametrize("shape", [(0,), (5, 2)])
def test_no_samples(shape):
    with pytest.raises(ValueError, match="expected samples"):
        log_mel(np.zeros(shape), 8000)


def test_standardised_features_do_not_depend_on_loudness_and_colour():
    features = np.random.default_rng(0).normal(3, 2, (50, 4))
    found = standardise(features)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(found.std(axis=0), 1, rtol=1e-5)
    louder = standardise(features + np.array([1, 2, 3, 4.0]))
    np.testing.assert_allclose(louder, found, atol=1e-5)
    assert np.isfinite(standardise(np.ones((3, 2)))).all()
