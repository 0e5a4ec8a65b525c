"""WAV files: PCM of any width, sample rate and number of channels, resampled to one channel."""

import math
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np


class WavHeader(NamedTuple):
    frames: int  # samples of each channel
    rate: int  # Hz
    channels: int
    width: int  # bytes of one sample

    @property
    def seconds(self) -> float:
        return self.frames / self.rate


def wav_header(path: str | Path) -> WavHeader:
    """The header of a WAV file; its samples are not read.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: not PCM WAV, no samples, or fewer bytes than the header states.
    """
    with _opened(path) as file:
        return _header(path, file)


def read_wav(path: str | Path, rate: int | None = None) -> np.ndarray:
    """Read a WAV file as one channel at a given sample rate.

    Channels are averaged. Resampling is by polyphase filtering, which prevents aliasing.

    Args:
      path: a file of 8, 16, 24 or 32-bit PCM.
      rate: sample rate, Hz; None for that of the file.

    Returns:
      Samples `[N]` float32 in [-1, 1].

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: not PCM WAV, no samples, or fewer than the header states; it names the file.
    """
    with _opened(path) as file:
        header = _header(path, file)
        raw = file.readframes(header.frames)
    found = len(raw) // (header.width * header.channels)
    if found < header.frames:
        raise ValueError(f"{path} is truncated: expected {header.frames} frames, found {found}")
    samples = _floats(raw, header.width).reshape(header.frames, header.channels).mean(axis=1)
    if rate is not None and rate != header.rate:
        from scipy.signal import resample_poly

        shared = math.gcd(rate, header.rate)
        samples = resample_poly(samples, rate // shared, header.rate // shared)
    return np.asarray(samples, np.float32)


def write_wav(path: str | Path, samples: np.ndarray, rate: int) -> None:
    """Write samples `[N]` as 16-bit mono, clipped to [-1, 1]."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, len(samples), "NONE", "not compressed"))
        file.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())


def _opened(path: str | Path) -> wave.Wave_read:
    try:
        return wave.open(str(path), "rb")
    except (wave.Error, EOFError) as error:
        reason = str(error) or "it ends within its header"
        raise ValueError(
            f"{path}: expected a WAV file of 8, 16, 24 or 32-bit PCM ({reason}); sox converts: "
            "sox IN -e signed -b 16 OUT.wav"
        ) from None


def _header(path: str | Path, file: wave.Wave_read) -> WavHeader:
    header = WavHeader(
        file.getnframes(), file.getframerate(), file.getnchannels(), file.getsampwidth()
    )
    if header.frames == 0 or header.rate == 0:
        raise ValueError(f"{path} has no samples")
    size, needed = Path(path).stat().st_size, header.frames * header.width * header.channels
    if size < needed:
        raise ValueError(f"{path} is truncated: expected {needed} bytes of samples, got {size}")
    return header


def _floats(raw: bytes, width: int) -> np.ndarray:
    if width == 1:  # the only unsigned width
        return (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    if width == 3:
        low = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        raw = np.pad(low, ((0, 0), (1, 0))).tobytes()  # 24 bits as the upper bits of 32
        width = 4
    return np.frombuffer(raw, f"<i{width}").astype(np.float32) / 2.0 ** (8 * width - 1)
