import numpy as np
import pytest

from rnnjax.experiments.data import digits


def test_every_image_is_there_once_in_reading_order():
    data = digits(seed=3)
    assert data.train_xs.shape == (64, 1437, 1)
    assert data.test_xs.shape == (64, 360, 1)
    assert data.train_xs.min() == 0
    assert data.train_xs.max() == 1
    rows = np.concatenate([data.train_xs, data.test_xs], axis=1)[:, :, 0].T
    labels = np.concatenate([data.train_labels, data.test_labels])
    from sklearn.datasets import load_digits

    images, targets = load_digits(return_X_y=True)
    found = np.lexsort(np.column_stack([rows, labels]).T)
    real = np.lexsort(np.column_stack([images / 16, targets]).T)
    np.testing.assert_array_equal(rows[found], (images / 16).astype(np.float32)[real])
    np.testing.assert_array_equal(labels[found], targets[real])


def test_split_is_stratified_and_belongs_to_its_seed():
    one, again, other = digits(0), digits(0), digits(1)
    np.testing.assert_array_equal(one.test_xs, again.test_xs)
    assert not np.array_equal(one.test_xs, other.test_xs)
    counts = np.bincount(one.test_labels, minlength=10)
    assert counts.min() >= 34
    assert counts.max() <= 38


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5])
def test_wrong_fraction(fraction):
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        digits(test_fraction=fraction)
