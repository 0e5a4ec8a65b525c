"""The files that MNIST comes in, good and bad."""

import gzip

import numpy as np
import pytest
from data_files import fill, idx, write

from rnnjax.experiments.data import mnist

RNG = np.random.default_rng(0)
SHAPES = {"train": 30, "t10k": 7}


@pytest.fixture
def arrays():
    return {
        name: (RNG.integers(0, 256, (count, 4, 3)), np.arange(count) % 5)
        for name, count in SHAPES.items()
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_what_was_written_is_read(tmp_path, arrays, compressed):
    found = mnist(fill(tmp_path, arrays, compressed))
    np.testing.assert_array_equal(found.train, arrays["train"][0])
    np.testing.assert_array_equal(found.test_labels, arrays["t10k"][1])
    assert isinstance(found.train, np.memmap) is not compressed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an IDX file: it begins with nothing"),
        (b"PNG\r\n\x1a\n", "is not an IDX file: it begins with 50 4e 47 0d"),
        (gzip.compress(b"\0\0\x08\x01", mtime=0), "let its name end in .gz"),
        (b"\0\0\x08\x03\0\0", "ends within its header, which says 3 dimensions"),
        (b"\0\0\x08\x01\0\0\0\x05ab", "is truncated: 10 bytes, expected 13"),
        (b"\0\0\x08\x01\0\0\0\x01abc", "is longer than its header says: 11 bytes, expected 9"),
    ],
)
def test_bad_files_are_named(tmp_path, arrays, content, message):
    bad = write(fill(tmp_path, arrays), "train-labels-idx1-ubyte", content)
    with pytest.raises(ValueError, match=message) as caught:
        mnist(tmp_path)
    assert str(bad) in str(caught.value)


def test_a_cut_gzip_file_is_named(tmp_path, arrays):
    path = fill(tmp_path, arrays, compressed=True) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="not a whole gzip file"):
        mnist(tmp_path)


def test_a_damaged_gzip_file_is_named(tmp_path, arrays):
    path = fill(tmp_path, arrays, compressed=True) / "train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[10] = 0xFF  # a kind of block that there is not
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz is not a whole gzip file"):
        mnist(tmp_path)


def test_training_images_of_one_class_are_refused(tmp_path, arrays):
    images, labels = arrays["train"]
    fill(tmp_path, {**arrays, "train": (images, np.full_like(labels, 3))})
    message = "images of at least two classes are needed for training, and all 30 are of class 3:"
    with pytest.raises(ValueError, match=message) as caught:
        mnist(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_files_that_do_not_fit_each_other(tmp_path, arrays):
    write(fill(tmp_path, arrays), "train-labels-idx1-ubyte", idx(np.arange(29)))
    with pytest.raises(ValueError, match=r"30 images but .* 29 labels"):
        mnist(tmp_path)
