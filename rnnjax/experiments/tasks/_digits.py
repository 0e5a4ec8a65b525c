"""The UCI handwritten digits, read pixel by pixel."""

from typing import NamedTuple

import numpy as np

from rnnjax._extras import optional

STEPS, CLASSES = 64, 10


class Digits(NamedTuple):
    train_xs: np.ndarray  # [64, N, 1] float32 grey values in [0, 1], time first
    train_labels: np.ndarray  # [N] int32 digits 0..9
    test_xs: np.ndarray  # [64, M, 1]
    test_labels: np.ndarray  # [M]


def digits(seed: int = 0, test_fraction: float = 0.2) -> Digits:
    """1,797 real images of handwritten digits, 8 x 8, as sequences of 64 pixels.

    Many-to-one: the class can be told only after the last pixel. The images ship with
    scikit-learn, so nothing is downloaded.

    Args:
      seed: of the stratified split into training and test images.
      test_fraction: the share of images to test on, in (0, 1).

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
        raise ValueError(f"test_fraction must lie in (0, 1), got {test_fraction}")
    data = optional("sklearn.datasets").load_digits()
    labels = data.target.astype(np.int32)
    train, test = optional("sklearn.model_selection").train_test_split(
        np.arange(labels.size), test_size=test_fraction, random_state=seed, stratify=labels
    )
    pixels = (data.images.reshape(-1, STEPS) / 16).astype(np.float32)

    def sequences(rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(pixels[rows].T[:, :, None])

    return Digits(sequences(train), labels[train], sequences(test), labels[test])
