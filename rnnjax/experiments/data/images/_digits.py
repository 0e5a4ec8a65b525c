"""Handwritten digits: the UCI set that ships with scikit-learn, and MNIST's four files."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnnjax._arguments import checked_arguments
from rnnjax._extras import optional
from rnnjax._names import option
from rnnjax.experiments._memory import check_fits
from rnnjax.experiments.data.images._idx import read_idx

STEPS, CLASSES = 64, 10


class Digits(NamedTuple):
    train_xs: np.ndarray  # [64, N, 1] float32 grey values in [0, 1], time first
    train_labels: np.ndarray  # [N] int32 digits 0..9
    test_xs: np.ndarray  # [64, M, 1]
    test_labels: np.ndarray  # [M]


@checked_arguments
def digits(seed: int = 0, test_fraction: float = 0.2) -> Digits:
    """The UCI handwritten digits: 1,797 images of 8 x 8, as sequences of 64 pixels.

    A many-to-one problem: the class is predicted after the last pixel. The images ship with
    scikit-learn, so nothing is downloaded.

    Args:
      seed: of the stratified split into training and test images.
      test_fraction: the share of test images, in (0, 1).

    Returns:
      A `Digits` of numpy arrays.

    Raises:
      ImportError: scikit-learn is not installed.
      ValueError: test_fraction outside (0, 1).

    References:
      Alpaydin & Kaynak (1998), Optical recognition of handwritten digits, UCI Machine Learning
      Repository, doi 10.24432/C50P49.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"{option('test_fraction')} must lie in (0, 1), got {test_fraction}")
    data = optional("sklearn.datasets").load_digits()
    labels = data.target.astype(np.int32)
    train, test = optional("sklearn.model_selection").train_test_split(
        np.arange(labels.size), test_size=test_fraction, random_state=seed, stratify=labels
    )
    pixels = (data.images.reshape(-1, STEPS) / 16).astype(np.float32)

    def sequences(rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(pixels[rows].T[:, :, None])

    return Digits(sequences(train), labels[train], sequences(test), labels[test])


class Images(NamedTuple):
    """Labelled training and test images."""

    train: np.ndarray  # [N, height, width] grey values 0..255, or in [0, 1] if floating point
    train_labels: np.ndarray  # [N] integers
    test: np.ndarray  # [M, height, width]
    test_labels: np.ndarray  # [M]


@checked_arguments
def mnist(folder: Path) -> Images:
    """Read the four files of MNIST, or of a data set in its format such as Fashion-MNIST or KMNIST.

    The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`, plain or gzipped (`.gz`). Uncompressed images are memory-mapped and
    read on demand.

    Args:
      folder: of the four files.

    Returns:
      `Images` of bytes.

    Raises:
      FileNotFoundError: a file is missing; the message says where it was expected.
      ValueError: a file that is not IDX, is truncated, or does not match the others; training
        images of one class alone.
    """
    folder = Path(folder)
    sets = [_read_set(folder, name) for name in ("train", "t10k")]
    (train, train_labels), (test, test_labels) = sets
    if train.shape[1:] != test.shape[1:]:
        raise ValueError(
            f"{folder}: training images are {train.shape[1:]} but test images are {test.shape[1:]}"
        )
    if len(np.unique(train_labels)) < 2:
        raise ValueError(
            f"{folder}: images of at least two classes are needed for training, and all "
            f"{len(train):,} are of class {train_labels[0]}: add training images of other classes"
        )
    return Images(train, train_labels, test, test_labels)


def _read_set(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    images_at, labels_at = (
        _find(folder, f"{name}-{part}") for part in ("images-idx3", "labels-idx1")
    )
    images, labels = read_idx(images_at), read_idx(labels_at)
    for path, array, dimensions in ((images_at, images, 3), (labels_at, labels, 1)):
        if array.ndim != dimensions or array.dtype != np.uint8:
            raise ValueError(
                f"{path} holds {array.ndim} dimensions of {array.dtype.name}, expected "
                f"{dimensions} of uint8"
            )
    if len(images) != len(labels):
        raise ValueError(
            f"{images_at} has {len(images)} images but {labels_at} {len(labels)} labels"
        )
    if images.size == 0:
        raise ValueError(f"{images_at} holds no images: its shape is {images.shape}")
    check_fits(f"{labels_at}, as labels of {len(labels):,} images,", 4 * len(labels))
    return images, labels.astype(np.int32)


def _find(folder: Path, stem: str) -> Path:
    """The file of this name, gzipped or not, with a hyphen or a dot before `idx`."""
    names = [f"{stem}-ubyte", f"{stem.replace('-idx', '.idx')}-ubyte"]
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise FileNotFoundError(
        f"{folder / names[0]}(.gz) does not exist: {option('data')} must be a folder with the four "
        "files of MNIST, train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte "
        "and t10k-labels-idx1-ubyte, plain or gzipped"
    )
