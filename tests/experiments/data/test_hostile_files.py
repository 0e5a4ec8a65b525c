"""Headers that claim what no machine holds, bombs, damage: refused in one line, at small cost."""

import gzip
import struct
import tracemalloc
import zipfile
import zlib
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from data_files import flat, pcm, table
from PIL import Image

from rnnjax.experiments import _memory
from rnnjax.experiments.data import open_recordings, read_idx, read_image, read_wav
from rnnjax.experiments.data.captions import Features, open_captioned_pictures

BLOCK = 1 << 24
ZEROS = gzip.compress(bytes(BLOCK), 1, mtime=0)  # in 70 kB


@contextmanager
def refused(message, memory=20_000_000):
    """ValueError with a message of one line, within this memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            yield
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def idx(path, *shape, values=b"", zeros=0):
    """An IDX file of bytes whose header claims a shape: values, then blocks of 16 MiB of zeros."""
    content = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes() + values
    compressed = gzip.compress(content, mtime=0) + zeros * ZEROS
    path.write_bytes(compressed if path.suffix == ".gz" else content)
    return path


def test_idx_that_claims_2_to_the_40(tmp_path):
    with refused(r"x\.gz is truncated: \d+ compressed bytes cannot hold \(1048576, 1048576\)"):
        read_idx(idx(tmp_path / "x.gz", 1 << 20, 1 << 20))
    with refused(r"x is truncated: 12 bytes, expected 1099511627788"):
        read_idx(idx(tmp_path / "x", 1 << 20, 1 << 20))
    with refused(r"x is damaged: its header says \(2147483648, 2147483648, 0\)"):
        read_idx(idx(tmp_path / "x", 1 << 31, 1 << 31, 0))


def test_idx_with_a_bomb_behind_its_values(tmp_path):
    with refused(r"x\.gz is longer than its header says: expected 11 bytes for \(3,\)"):
        read_idx(idx(tmp_path / "x.gz", 3, values=b"abc", zeros=10))
    with refused(r"x\.gz is truncated: 16777224 bytes, expected 16777228", 40_000_000):
        read_idx(idx(tmp_path / "x.gz", BLOCK + 4, zeros=1))


def test_idx_that_is_a_bomb(tmp_path, monkeypatch):
    with refused(r"gunzip.* would grow from 1\.\d+ MB to 285\.2 MB, .* as no real data do"):
        read_idx(idx(tmp_path / "x.gz", 17, BLOCK, zeros=17))
    monkeypatch.setattr(_memory, "available_memory", lambda: 300_000_000)
    with refused(r"after gunzip it is read on demand.* 167\.8 MB .* more than 50% of the 300 MB"):
        read_idx(idx(tmp_path / "x.gz", 10, BLOCK, zeros=10))


def npz(path, header, content=bytes(8), **entry):
    """An npz file of one array with this header."""
    text = str(header).encode().ljust(117) + b"\n"
    raw = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.jpg.npy", raw, **entry)
    return path


def save(path, **arrays: Any):
    np.savez(path, **arrays)


FORM = {"descr": "<f4", "fortran_order": False, "shape": (2,)}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({**FORM, "shape": (1 << 40,)}, r"8 bytes are no \(1099511627776,\) of float32"),
        ({**FORM, "shape": (1 << 20, 1 << 20, 1 << 30)}, "8 bytes are no"),
        ({**FORM, "shape": (-1,)}, r"it is float32 of shape \(-1,\): expected numbers"),
        ({**FORM, "shape": (0,)}, r"of shape \(0,\): expected numbers"),
        ({**FORM, "descr": "|O"}, r"it is object of shape \(2,\): expected numbers"),
        ({**FORM, "descr": "<c8", "shape": (1,)}, "it is complex64 of shape"),
        ("[" * 100, "cannot be read"),
        ("-" * 110 + "1", "cannot be read"),
    ],
)
def test_npz_whose_header_is_wrong(tmp_path, header, message):
    with refused(rf"x\.npz: 'a\.jpg' cannot be read: .*{message}|{message}"):
        Features(npz(tmp_path / "x.npz", header))


def test_npz_that_is_a_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(_memory, "_LARGE", 1 << 20)
    path = npz(tmp_path / "x.npz", {**FORM, "shape": (BLOCK,)}, bytes(4 * BLOCK), compresslevel=1)
    with refused(r"'a\.jpg' cannot be read: it would grow from .* kB to 67\.11 MB, over 100 times"):
        Features(path)
    monkeypatch.setattr(_memory, "_LARGE", 1 << 30)
    monkeypatch.setattr(_memory, "_SMALL", 1 << 20)
    monkeypatch.setattr(_memory, "available_memory", lambda: 100_000_000)
    with refused(r"its \(16777216,\) of float32 would take 67\.11 MB of memory, more than 50%"):
        Features(path)


def test_npz_that_is_damaged(tmp_path):
    """Each byte in turn: what is read is what was written, or refused."""
    save(tmp_path / "x.npz", a=np.arange(3.0), b=np.arange(3.0))
    whole = (tmp_path / "x.npz").read_bytes()
    bad = tmp_path / "bad.npz"
    read = 0
    for k in range(0, len(whole), 5):
        bad.write_bytes(whole[:k] + bytes([whole[k] ^ 0x55]) + whole[k + 1 :])
        with suppress(ValueError):
            np.testing.assert_array_equal(Features(bad)["b"], np.arange(3.0))
            read += 1
    assert 10 < read < 60


def test_npz_with_numbers_that_are_none(tmp_path):
    for values in ([1, np.nan], [1, 1e300]):
        save(tmp_path / "x.npz", a=np.array(values))
        with refused("'a' cannot be read: it holds NaN, infinity or numbers beyond"):
            Features(tmp_path / "x.npz")


def wav(path, raw=bytes(8), *, rate=8000, size=None, format_size=16, before=b"", form=(1, 16)):
    kind, bits = form
    fmt = struct.pack("<HHIIHH", kind, 1, rate, 2 * rate & 0xFFFFFFFF, bits // 8, bits)
    data = b"data" + struct.pack("<I", len(raw) if size is None else size) + raw
    body = b"WAVEfmt " + struct.pack("<I", format_size) + fmt + before + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0xFFFFFFF0}, r"is truncated: expected 4294967280 bytes of samples, got 8"),
        ({"format_size": 0xFFFFFFFF}, "ends within its header"),
        ({"rate": 0xFFFFFFFB}, r"sample rate of 4,294,967,291 Hz, which cannot be resampled"),
        ({"before": bytes(1 << 20)}, "ends within its header, without data"),
        ({"rate": 1, "raw": bytes(1 << 20)}, r"524,288 samples at 1 Hz .* would take 33\.55 GB"),
    ],
    ids=["samples of 4 GB", "format of 4 GB", "rate of 2^32", "empty chunks", "one a second"],
)
def test_wav_whose_header_is_wrong(tmp_path, monkeypatch, options, message):
    monkeypatch.setattr(_memory, "available_memory", lambda: 10**10)
    path = wav(tmp_path / "x.wav", **options)
    with refused(message):
        read_wav(path, 8000)


def test_recordings_are_checked_before_training(tmp_path):
    path = flat(tmp_path) / "7_theo_1.wav"
    wav(path, np.array([0, np.nan], "<f4").tobytes(), form=(3, 32))
    with refused(r"7_theo_1\.wav has samples that are NaN or infinite"):
        open_recordings(tmp_path, 8000)
    pcm(path, np.zeros(400), rate=8000)
    with refused(r"has a sample rate of 8,000 Hz, which cannot be resampled to 1,000,000,007 Hz"):
        open_recordings(tmp_path, 1_000_000_007)


NAMES = [f"{k:03}.png" for k in range(200)]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Two hundred captioned pictures; tests do not change these."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "Images").mkdir()
    Image.new("RGB", (8, 8), "red").save(folder / "Images" / NAMES[0])
    for name in NAMES[1:]:
        (folder / "Images" / name).hardlink_to(folder / "Images" / NAMES[0])
    return folder


@pytest.fixture
def captioned(drawn, tmp_path):
    """The same folder, in which links may be replaced by other files."""
    (tmp_path / "Images").mkdir()
    for name in NAMES:
        (tmp_path / "Images" / name).hardlink_to(drawn / "Images" / name)
    table(tmp_path / "captions.txt", dict.fromkeys(NAMES, ("a dog",)))
    return tmp_path


def replace(path, content):
    path.unlink()
    path.write_bytes(content)


def jpeg(path):
    Image.effect_noise((64, 64), 50).save(path, "JPEG")
    return path.read_bytes()


def test_damaged_pictures_are_found_before_training(captioned):
    whole = (captioned / "Images" / NAMES[0]).read_bytes()
    replace(captioned / "Images" / NAMES[3], whole[:-20])
    with pytest.warns(UserWarning, match=r"003\.png.* cannot be read[^;]*$"):
        source = open_captioned_pictures(captioned, 4)
    assert len(source.train.captions) + len(source.tests["pictures"].captions) == 199
    for k, content in ((5, b""), (7, whole[:40] + b"xxxx" + whole[44:])):
        replace(captioned / "Images" / NAMES[k], content)
    with refused(r"003\.png: this picture cannot be read: .*; 2 others are damaged, of 200"):
        open_captioned_pictures(captioned, 4)


def test_missing_and_damaged_pictures_count_together(captioned):
    for name in NAMES[:2]:
        (captioned / "Images" / name).unlink()
    replace(captioned / "Images" / NAMES[3], b"text")
    with refused(r"000\.png is not in .*, nor are 1 others; .*003\.png"):
        open_captioned_pictures(captioned, 4)


@pytest.mark.parametrize("form", ["JPEG", "GIF", "BMP", "TIFF", "WEBP", "PNG"])
def test_pictures_that_are_cut_off(captioned, form):
    path = captioned / "Images" / NAMES[3]
    path.unlink()
    Image.effect_noise((64, 64), 50).convert("RGB").save(path, form)
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(20) if form == "JPEG" else whole)
    assert len(open_captioned_pictures(captioned, 4).train.captions) == 180
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match=r"003\.png: this picture cannot be read"):
        open_captioned_pictures(captioned, 4)


def png(path, width, height):
    """A grey PNG that claims a size; its pixels are missing."""
    Image.new("L", (1, 1)).save(path)
    raw = bytearray(path.read_bytes())
    raw[16:24] = struct.pack(">II", width, height)
    raw[29:33] = struct.pack(">I", zlib.crc32(bytes(raw[12:29])))
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("size", [(100_000, 100_000), (10_000, 10_000)])
def test_pictures_of_too_many_pixels(tmp_path, size):
    with refused(r"x\.png: this picture cannot be read: Image size .* exceeds limit"):
        read_image(png(tmp_path / "x.png", *size), 4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../secret.png", r"line 2: '\.\./secret\.png' leads out of the folder of pictures"),
        ("a/../../../secret.png", r"leads out of the folder"),
        ("/etc/hostname", r"'/etc/hostname' leads out of the folder"),
        (".." + "/.." * 50 + "/etc/hostname", "leads out of the folder"),
        (300 * "a" + ".png", "cannot be the name of a file"),
        ("a\0.png", "cannot be the name of a file"),
    ],
)
def test_names_that_lead_out_of_the_folder(captioned, name, message):
    Image.new("RGB", (8, 8)).save(captioned.parent / "secret.png")
    names = [name, *NAMES]
    (captioned / "captions.txt").unlink()
    lines = "".join(f"{each}#0\ta dog\n" for each in names)
    (captioned / "x.token.txt").write_text("first.png#0\ta dog\n" + lines)
    with refused(message):
        open_captioned_pictures(captioned, 4)


def test_links_that_lead_out_of_the_folder(captioned, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for name in (*NAMES[:20], "secret.png"):
        Image.new("RGB", (8, 8), "blue").save(other / name)
    images = captioned / "Images"
    for name in NAMES[:20]:
        (images / name).unlink()
        (images / name).symlink_to(other / name)
    with refused(r"000\.png leads out of .*Images, to .*000\.png: .*cp -rL.*; 19 others"):
        open_captioned_pictures(captioned, 4)
    table(captioned / "captions.txt", {f"sub/{name}": ("a dog",) for name in NAMES[:20]})
    (images / "sub").symlink_to(other)
    with refused(r"sub/000\.png leads out of"):
        open_captioned_pictures(captioned, 4)


def test_links_to_the_folder_and_within_it(captioned, tmp_path_factory):
    images = captioned / "Images"
    (images / NAMES[0]).rename(captioned / "kept.png")
    (images / NAMES[0]).symlink_to(captioned / "kept.png")
    place = tmp_path_factory.mktemp("place")
    (place / "data").symlink_to(captioned)
    assert len(open_captioned_pictures(place / "data", 4).train.captions) == 180
    images.rename(place / "elsewhere")
    images.symlink_to(place / "elsewhere")
    assert open_captioned_pictures(captioned, 4).train.read(1)[0, 0].tolist() == [255, 0, 0]
