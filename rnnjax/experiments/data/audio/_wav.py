"""WAV files: PCM or float of any width, rate and number of channels, resampled to one channel."""

import math
import struct
import wave
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from rnnjax._arguments import checked_arguments
from rnnjax.experiments._memory import check_fits

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_WIDTHS = {_PCM: (1, 2, 3, 4), _FLOAT: (4, 8)}  # bytes of one sample
_OTHERS = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 49: "GSM", 85: "MP3"}
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # after the two bytes of the format
_FORMAT, _CHUNKS = 40, 1000  # bytes of the longest format, and chunks to look for samples in
_MOST_TERMS = 1_000_000  # of the ratio of two rates: the filter has twenty times as many taps
_TO_THE_END = 0xFFFFFFFF  # stands for the size where it was not known when the header was written


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
      ValueError: not WAV, compressed, no samples, or fewer bytes than the header states.
    """
    with open(path, "rb") as file:
        return _open(path, file).header


@checked_arguments
def read_wav(path: str | Path, rate: int | None = None) -> np.ndarray:
    """Read a WAV file as one channel at a given sample rate.

    Channels are averaged. Resampling is by polyphase filtering, which prevents aliasing.

    Args:
      path: a file of 8, 16, 24 or 32-bit PCM, or of 32 or 64-bit floats, with a plain or an
        extensible header (`WAVE_FORMAT_EXTENSIBLE`).
      rate: sample rate, Hz; None for that of the file.

    Returns:
      Samples `[N]` float32: PCM is scaled to [-1, 1], floats are as they are in the file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: not WAV, compressed, no samples, fewer than the header states, or samples that are
        not finite; it names the file.
    """
    header, samples = _samples(path, rate)
    samples = samples.mean(axis=1)
    if rate is not None and rate != header.rate:
        from scipy.signal import resample_poly

        shared = math.gcd(rate, header.rate)
        samples = resample_poly(samples, rate // shared, header.rate // shared)
    return np.asarray(samples, np.float32)


def checked_size(path: str | Path, rate: int) -> int:
    """The number of samples at a rate, after all that `read_wav` could refuse has been looked for.

    Of PCM, in which any sample is a number, only the header is read.

    Raises:
      FileNotFoundError, ValueError: as `read_wav`.
    """
    with open(path, "rb") as file:
        wav = _open(path, file, rate)
    if wav.form == _FLOAT:
        _samples(path, rate)
    return _size_at(wav.header, rate)


def _samples(path: str | Path, rate: int | None) -> tuple[WavHeader, np.ndarray]:
    """The header, and the samples `[N, channels]` at the rate of the file."""
    with open(path, "rb") as file:
        wav = _open(path, file, rate)
        raw = file.read(wav.size)
    header = wav.header
    samples = _floats(raw, wav.form, header.width).reshape(header.frames, header.channels)
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} has samples that are NaN or infinite")
    return header, samples


def _size_at(header: WavHeader, rate: int) -> int:
    return -(-header.frames * rate // header.rate)


@checked_arguments
def write_wav(path: str | Path, samples: np.ndarray, rate: int) -> None:
    """Write samples `[N]` as 16-bit mono, clipped to [-1, 1]."""
    with open(path, "wb") as raw, wave.open(raw, "wb") as file:
        file.setparams((1, 2, rate, len(samples), "NONE", "not compressed"))
        file.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())


class _Wav(NamedTuple):
    header: WavHeader
    form: int  # _PCM or _FLOAT
    size: int  # bytes of the samples, which the file is at


def _open(path: str | Path, file: BinaryIO, rate: int | None = None) -> _Wav:
    """Read the header, check that the rest can be read, and stop at the first sample."""
    try:
        form, channels, own_rate, width = _format(_chunk(file, b"fmt "))
        size = _find(file, b"data")
    except ValueError as error:
        raise ValueError(
            f"{path}: expected a WAV file of 8, 16, 24 or 32-bit PCM or of floats ({error}); sox "
            "converts: sox IN -e signed -b 16 OUT.wav"
        ) from None
    begin = file.tell()
    there = file.seek(0, 2) - begin
    file.seek(begin)
    size = there if size == _TO_THE_END else size
    frames = size // (width * channels)
    if frames == 0 or own_rate == 0:
        raise ValueError(f"{path} has no samples")
    if there < size:
        raise ValueError(f"{path} is truncated: expected {size} bytes of samples, got {there}")
    header = WavHeader(frames, own_rate, channels, width)
    check_fits(f"{path}, {frames:,} x {channels} samples,", size + 4 * frames * channels)
    if rate is not None:
        _check_rates(path, header, rate)
    return _Wav(header, form, frames * width * channels)


def _check_rates(path: str | Path, header: WavHeader, rate: int) -> None:
    """Raise ValueError if resampling would take a filter or a result that is too long."""
    if max(rate, header.rate) // math.gcd(rate, header.rate) > _MOST_TERMS:
        raise ValueError(
            f"{path} has a sample rate of {header.rate:,} Hz, which cannot be resampled to "
            f"{rate:,} Hz; if it is right, sox converts: sox IN -r {rate} OUT.wav"
        )
    what = f"{path}, {header.frames:,} samples at {header.rate:,} Hz resampled to {rate:,} Hz,"
    check_fits(what, 8 * _size_at(header, rate))


def _chunk(file: BinaryIO, name: bytes) -> bytes:
    """The content of the first chunk with this name, which the file is at the end of then."""
    start = file.read(12)
    if len(start) >= 4 and start[:4] != b"RIFF":
        raise ValueError(f"it does not start with RIFF but with {start[:4]!r}")
    if len(start) < 12:
        raise ValueError("it ends within its header")
    if start[8:] != b"WAVE":
        raise ValueError(f"it holds {start[8:]!r}, not WAVE")
    size = _find(file, name)
    begin = file.tell()
    content = file.read(min(size, _FORMAT))
    file.seek(begin + size + size % 2)
    return content


def _find(file: BinaryIO, name: bytes) -> int:
    """The size of the next chunk with this name, at whose content the file is then."""
    for _ in range(_CHUNKS):
        if len(head := file.read(8)) < 8:
            break
        size = int.from_bytes(head[4:], "little")
        if head[:4] == name:
            return size
        file.seek(size + size % 2, 1)  # chunks begin at even places
    raise ValueError(f"it ends within its header, without {name.decode().strip()}")


def _format(content: bytes) -> tuple[int, int, int, int]:
    """Format, channels, rate and bytes of a sample, from the content of the chunk `fmt `."""
    if len(content) < 16:
        raise ValueError("it ends within its header")
    form, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", content)
    if form == _EXTENSIBLE:
        if len(content) < 40 or content[26:40] != _GUID_TAIL:
            raise ValueError("an extensible header of unknown subformat")
        form = int.from_bytes(content[24:26], "little")
    if form not in _WIDTHS:
        raise ValueError(f"unknown format: {form}, {_OTHERS.get(form, 'not PCM')}")
    width = (bits + 7) // 8  # fewer bits are the upper ones of whole bytes
    if width not in _WIDTHS[form]:
        raise ValueError(f"{bits}-bit {'PCM' if form == _PCM else 'floats'}")
    if channels == 0:
        raise ValueError("no channels")
    return form, channels, rate, width


def _floats(raw: bytes, form: int, width: int) -> np.ndarray:
    if form == _FLOAT:
        return np.frombuffer(raw, f"<f{width}")
    if width == 1:  # the only unsigned width
        return (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    if width == 3:
        low = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        raw = np.pad(low, ((0, 0), (1, 0))).tobytes()  # 24 bits as the upper bits of 32
        width = 4
    return np.frombuffer(raw, f"<i{width}").astype(np.float32) / 2.0 ** (8 * width - 1)
