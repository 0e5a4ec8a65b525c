"""WAV files of every kind that is read, and what is said about the others."""

import struct

import numpy as np
import pytest
from data_files import pcm

from rnnjax.experiments.data import read_wav, write_wav
from rnnjax.experiments.data.audio import wav_header

TONE = np.sin(2 * np.pi * 440 * np.arange(4000) / 8000)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_widths(tmp_path, width):
    samples = 0.8 * TONE
    found = read_wav(pcm(tmp_path / "t.wav", samples, width))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, samples, atol=max(2.0 ** (1 - 8 * width), 1e-7))


def test_channels_are_averaged(tmp_path):
    both = np.stack([0.5 * TONE, 0.1 * TONE + 0.2], axis=1)
    path = pcm(tmp_path / "t.wav", both, channels=2)
    np.testing.assert_allclose(read_wav(path), both.mean(axis=1), atol=1e-4)
    assert wav_header(path) == (4000, 8000, 2, 2)
    assert wav_header(path).seconds == 0.5


@pytest.mark.parametrize("rate", [6000, 11025, 16000, 44100])
def test_other_rates_keep_the_tone(tmp_path, rate):
    there = np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate)
    found = read_wav(pcm(tmp_path / "t.wav", 0.9 * there, rate=rate), 8000)
    assert len(found) == -(-(rate // 2) * 8000 // rate)
    inner = slice(200, 3800)
    np.testing.assert_allclose(found[inner], 0.9 * TONE[inner], atol=5e-3)


def test_what_the_lower_rate_cannot_hold_is_kept_out(tmp_path):
    high = np.sin(2 * np.pi * 7000 * np.arange(22050) / 22050)
    found = read_wav(pcm(tmp_path / "t.wav", 0.9 * high, rate=22050), 8000)
    assert np.abs(found[200:-200]).max() < 0.01


def test_what_is_written_is_read(tmp_path):
    write_wav(tmp_path / "t.wav", 2 * TONE, 8000)
    np.testing.assert_allclose(read_wav(tmp_path / "t.wav"), np.clip(2 * TONE, -1, 1), atol=1e-4)


@pytest.mark.parametrize("lost", [1000, 2])
@pytest.mark.parametrize("read", [read_wav, wav_header])
def test_truncated(tmp_path, lost, read):
    path = pcm(tmp_path / "t.wav", TONE)
    path.write_bytes(path.read_bytes()[:-lost])
    if lost < 44 and read is wav_header:  # the header alone may stand in for so few bytes
        return
    with pytest.raises(ValueError, match=r"t\.wav is truncated: expected"):
        read(path)


def wav(raw, form, bits, *, extensible=True, valid_bits=None, before=b"", size=None):
    """A mono WAV file at 8 kHz of raw samples, with a plain or an extensible header."""
    width = (bits + 7) // 8
    guid = struct.pack("<H", form) + bytes.fromhex("000000001000800000aa00389b71")
    extra = struct.pack("<HHI", 22, valid_bits or bits, 4) + guid if extensible else b""
    tag = 0xFFFE if extensible else form
    fmt = struct.pack("<HHIIHH", tag, 1, 8000, 8000 * width, width, bits) + extra
    data = b"data" + struct.pack("<I", len(raw) if size is None else size) + raw
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + before + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


VALUES = np.array([0.0, 0.5, -0.25, -1.0])
IN_24 = b"".join(int(v * 2**23).to_bytes(3, "little", signed=True) for v in VALUES)


@pytest.mark.parametrize(
    "content",
    [
        wav(((VALUES + 1) * 128).astype("u1").tobytes(), 1, 8),
        wav((VALUES * 2**15).astype("<i2").tobytes(), 1, 16),
        wav(IN_24, 1, 24),
        wav(IN_24, 1, 24, valid_bits=20),
        wav((VALUES * 2.0**31).astype("<i4").tobytes(), 1, 32),
        wav(VALUES.astype("<f4").tobytes(), 3, 32),
        wav(VALUES.astype("<f8").tobytes(), 3, 64),
        wav(VALUES.astype("<f4").tobytes(), 3, 32, extensible=False),
        wav(IN_24, 1, 24, extensible=False, before=b"LIST" + struct.pack("<I", 3) + b"odd" + b"0"),
        wav(IN_24, 1, 24, size=0xFFFFFFFF),  # written as a stream
    ],
)
def test_extensible_headers_and_floats(tmp_path, content):
    path = tmp_path / "t.wav"
    path.write_bytes(content)
    np.testing.assert_array_equal(read_wav(path), VALUES)
    assert wav_header(path)[:3] == (4, 8000, 1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "ends within its header"),
        (b"RIFF", "ends within its header"),
        (b"ID3" + bytes(60), "does not start with RIFF"),
        (b"RIFF" + bytes(4) + b"AVI " + bytes(60), "not WAVE"),
        (wav(bytes(8), 7, 8), "unknown format: 7, mu-law"),
        (wav(bytes(8), 85, 0, extensible=False), "unknown format: 85, MP3"),
        (wav(bytes(8), 3, 16), "16-bit floats"),
        (wav(bytes(8), 1, 64), "64-bit PCM"),
        (wav(bytes(8), 1, 16).replace(bytes.fromhex("aa00389b71"), bytes(5)), "subformat"),
        (wav(bytes(8), 1, 16)[:60], "without data"),
    ],
)
def test_what_cannot_be_read(tmp_path, content, reason):
    path = tmp_path / "t.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"t\.wav: expected a WAV file of .*{reason}.*sox"):
        read_wav(path)


def test_floats_that_are_not_finite(tmp_path):
    path = tmp_path / "t.wav"
    path.write_bytes(wav(np.array([0, np.nan], "<f4").tobytes(), 3, 32))
    with pytest.raises(ValueError, match=r"t\.wav has samples that are NaN"):
        read_wav(path)


def test_no_samples(tmp_path):
    with pytest.raises(ValueError, match=r"t\.wav has no samples"):
        wav_header(pcm(tmp_path / "t.wav", []))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_wav(tmp_path / "none.wav")
