"""Log-mel features of audio samples."""

from functools import lru_cache

import numpy as np

from rnnjax._arguments import check_positive_int, checked_arguments

FLOOR = 1e-10  # of a filter's energy: silence is log(FLOOR), not -inf


@checked_arguments
def log_mel(
    samples: np.ndarray,
    rate: int,
    *,
    filters: int = 40,
    window: float = 0.025,
    hop: float = 0.010,
) -> np.ndarray:
    """Log-mel spectrogram: the logarithm of the energy in mel-spaced bands, frame by frame.

        X_t = DFT(hann · samples[t·hop : t·hop + window]);   y_t = log(max(W |X_t|², floor))

    W is a bank of overlapping triangular filters whose corners are equally spaced in
    mel(f) = 2595 log₁₀(1 + f/700) from 0 to half the sample rate. The last frame is padded with
    zeros, so no sample is lost.

    Args:
      samples: `[N]`, N at least 1.
      rate: sample rate, Hz.
      filters: number of bands.
      window: length of a frame in seconds.
      hop: seconds between the starts of successive frames.

    Returns:
      Features `[T, filters]` float32, T = 1 + ⌈(N - window) / hop⌉.

    Raises:
      ValueError: no samples.

    Example:
      >>> import numpy as np
      >>> tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
      >>> log_mel(tone, 8000).shape, int(log_mel(tone, 8000)[50].argmax())
      ((99, 40), 18)

    References:
      Davis & Mermelstein (1980), Comparison of parametric representations for monosyllabic word
      recognition in continuously spoken sentences, IEEE TASSP 28.
    """
    check_positive_int("rate", rate)
    check_positive_int("filters", filters)
    samples = np.asarray(samples)
    if samples.ndim != 1 or len(samples) == 0:
        raise ValueError(f"expected samples [N], at least one, got shape {samples.shape}")
    width, step = round(window * rate), round(hop * rate)
    count = 1 + max(0, -(-(len(samples) - width) // step))
    padded = np.zeros((count - 1) * step + width, np.float32)
    padded[: len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, width)[::step]
    hann, bank = _constants(rate, width, filters)
    size = 2 * (bank.shape[0] - 1)
    power = np.abs(np.fft.rfft(frames * hann, size)) ** 2
    return np.log(np.maximum(power @ bank, FLOOR)).astype(np.float32)


def standardise(features: np.ndarray) -> np.ndarray:
    """Standardise features `[T, D]` to mean 0 and standard deviation 1 over the recording.

    This removes the loudness, and the frequency response of microphone and room.
    """
    deviation = features.std(axis=0)
    return ((features - features.mean(axis=0)) / np.maximum(deviation, 1e-3)).astype(np.float32)


@lru_cache(maxsize=16)
def _constants(rate: int, width: int, filters: int) -> tuple[np.ndarray, np.ndarray]:
    """The Hann window `[width]` and the filter bank `[bins, filters]`."""
    hann = np.hanning(width + 1)[:-1].astype(np.float32)
    size = 2 ** int(np.ceil(np.log2(2 * width)))  # twice the frame: every filter covers a bin
    corners = np.linspace(0, 2595 * np.log10(1 + rate / 1400), filters + 2)
    corners = 700 * (10 ** (corners / 2595) - 1)
    bins = np.fft.rfftfreq(size, 1 / rate)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rise, fall = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return hann, np.maximum(0, np.minimum(rise, fall)).astype(np.float32)
