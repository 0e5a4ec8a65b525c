"""MNIST, and what comes in its form, from a folder."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnnjax.experiments.tasks.images._idx import read_idx


class Images(NamedTuple):
    """Labelled pictures, in training and test."""

    train: np.ndarray  # [N, height, width] grey values 0..255, or in [0, 1] if floating point
    train_labels: np.ndarray  # [N] integers
    test: np.ndarray  # [M, height, width]
    test_labels: np.ndarray  # [M]


def mnist(folder: Path) -> Images:
    """The images of a folder with the four files of MNIST, Fashion-MNIST, KMNIST or the like.

    They are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`, as they are or compressed (`.gz`). Images that are not compressed
    are mapped into memory and read as they are used.

    Args:
      folder: where the files are.

    Returns:
      `Images` of bytes.

    Raises:
      FileNotFoundError: a file is missing; the message says where they were looked for.
      ValueError: a file that is no IDX file, is truncated, or does not fit the others.
    """
    folder = Path(folder)
    sets = [_read_set(folder, name) for name in ("train", "t10k")]
    (train, train_labels), (test, test_labels) = sets
    if train.shape[1:] != test.shape[1:]:
        raise ValueError(
            f"{folder}: images in training are {train.shape[1:]} but those to test on "
            f"{test.shape[1:]}"
        )
    return Images(train, train_labels, test, test_labels)


def _read_set(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    images_at, labels_at = (
        _find(folder, f"{name}-{part}") for part in ("images-idx3", "labels-idx1")
    )
    images, labels = read_idx(images_at), read_idx(labels_at)
    for path, array, dimensions in ((images_at, images, 3), (labels_at, labels, 1)):
        if array.ndim != dimensions or array.dtype.itemsize != 1:
            raise ValueError(
                f"{path} holds {array.ndim} dimensions of {array.dtype.name}, expected "
                f"{dimensions} of uint8"
            )
    if len(images) != len(labels):
        raise ValueError(
            f"{images_at} has {len(images)} images but {labels_at} {len(labels)} labels"
        )
    if len(images) == 0:
        raise ValueError(f"{images_at} holds no images")
    return images, labels.astype(np.int32)


def _find(folder: Path, stem: str) -> Path:
    """The file of this name, compressed or not, with a hyphen or a dot before `idx`."""
    names = [f"{stem}-ubyte", f"{stem.replace('-idx', '.idx')}-ubyte"]
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise FileNotFoundError(
        f"{folder / names[0]}(.gz) is not there: data must name a folder with the four files of "
        "MNIST, train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
        "t10k-labels-idx1-ubyte, as they are or with .gz"
    )
