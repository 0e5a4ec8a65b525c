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


def float_wav():
    data = struct.pack("<4f", 0, 0.1, 0.2, 0.3)
    form = struct.pack("<HHIIHH", 3, 1, 8000, 32000, 4, 32)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", 16) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "ends within its header"),
        (b"RIFF", "ends within its header"),
        (b"ID3" + bytes(60), "does not start with RIFF"),
        (float_wav(), "unknown format: 3"),
    ],
)
def test_what_is_no_pcm(tmp_path, content, reason):
    path = tmp_path / "t.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"t\.wav: expected a WAV file of .*{reason}.*sox"):
        read_wav(path)


def test_no_samples(tmp_path):
    with pytest.raises(ValueError, match=r"t\.wav has no samples"):
        wav_header(pcm(tmp_path / "t.wav", []))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_wav(tmp_path / "none.wav")
