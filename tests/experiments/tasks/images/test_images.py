"""Images as sequences: batches, evaluation, and classification."""

import jax
import numpy as np
import PIL.Image
import pytest
from data_files import fill

from rnnjax.experiments.data import digits
from rnnjax.experiments.tasks import sequential_digits, sequential_mnist

SHAPES = {"train": 30, "t10k": 7}


@pytest.fixture(scope="module")
def arrays():
    random = np.random.default_rng(0)
    return {
        name: (random.integers(0, 256, (count, 4, 3)), np.arange(count) % 5)
        for name, count in SHAPES.items()
    }


def test_a_batch_holds_the_rows_of_the_file_in_a_fixed_order(tmp_path, arrays):
    task = sequential_mnist(data=fill(tmp_path, arrays), hidden=2, batch_size=10)
    batch = jax.tree.map(np.asarray, task.batches(3)[1])
    images, labels = arrays["train"]
    flat = (images.reshape(30, 12) / 255).astype(np.float32)
    for b in range(10):
        (row,) = np.flatnonzero((np.abs(flat - batch.xs[:, b, 0]) < 1e-6).all(1))
        assert labels[row] == batch.targets[b]
    again = sequential_mnist(data=tmp_path, hidden=2, batch_size=10).batches(3)[1]
    np.testing.assert_array_equal(again.xs, batch.xs)
    epoch = [task.batches(3)[step].targets for step in range(3)]
    np.testing.assert_array_equal(np.bincount(np.concatenate(epoch)), [6] * 5)  # each once


def test_rows_and_a_permutation_that_all_images_share(tmp_path, arrays):
    fill(tmp_path, arrays)
    rows = sequential_mnist(data=tmp_path, hidden=2, batch_size=30, read="rows").batches(0)[0]
    assert rows.xs.shape == (4, 30, 3)
    plain = sequential_mnist(data=tmp_path, hidden=2, batch_size=30).batches(0)[0]
    np.testing.assert_array_equal(
        np.asarray(rows.xs).swapaxes(0, 1).reshape(30, 12), np.asarray(plain.xs)[..., 0].T
    )
    mixed = sequential_mnist(data=tmp_path, hidden=2, batch_size=30, permuted=True).batches(0)[0]
    order = np.random.default_rng(0).permutation(12)
    np.testing.assert_array_equal(np.asarray(mixed.xs), np.asarray(plain.xs)[order])


@pytest.mark.usefixtures("eager")
def test_evaluation_counts_every_test_image_once(tmp_path, arrays):
    task = sequential_mnist(data=fill(tmp_path, arrays), hidden=3)
    params = task.init(jax.random.key(0))
    images, labels = arrays["t10k"]
    found = task.infer["classify"](params, list(images.astype(np.uint8)))
    right = np.mean([name == str(label) for (name, _), label in zip(found, labels, strict=True)])
    scores = task.evaluate(params)
    np.testing.assert_allclose(scores["accuracy"], right)
    for (_, chance), (again, _) in zip(found, found, strict=True):
        assert 0.2 <= chance <= 1
        assert again in "01234"


def test_digits_are_those_of_the_data():
    data = digits(0)
    task = sequential_digits(hidden=2, batch_size=1437)
    batch = jax.tree.map(np.asarray, task.batches(0)[0])
    np.testing.assert_array_equal(
        np.sort(batch.xs.sum(0)[:, 0]), np.sort(data.train_xs.sum(0)[:, 0])
    )
    np.testing.assert_array_equal(np.bincount(batch.targets), np.bincount(data.train_labels))


def test_what_is_read_is_said():
    (note,) = sequential_digits(hidden=2).notes
    assert note.startswith("images of 8 x 8 pixels: 1,437 for training, 360 for testing;")
    assert note.endswith(
        " 0 (142), 1 (146), 2 (142), 3 (146), 4 (145), 5 (145), 6 (145), 7 (143), 8 (139), 9 (144)"
    )


def test_the_recurrence_has_the_cost_of_the_loss():
    task = sequential_digits(hidden=3, batch_size=5)
    params, batch = task.init(jax.random.key(0)), task.batches(0)[0]
    part = task.recurrence(params, batch)
    import rnnjax

    cost = part.cost(*rnnjax.unroll(part.cell, part.params, part.xs, lengths=part.lengths))
    np.testing.assert_allclose(cost / 5, task.loss(params, None, batch, None)[0], rtol=1e-12)


def test_the_first_test_images_are_used(tmp_path, arrays):
    fill(tmp_path, arrays)
    task = sequential_mnist(data=tmp_path, hidden=2, test_size=2)
    params = task.init(jax.random.key(0))
    found = task.infer["classify"](params, list(arrays["t10k"][0][:2].astype(np.uint8)))
    right = [name == str(label) for (name, _), label in zip(found, range(2), strict=True)]
    assert task.evaluate(params)["accuracy"] == pytest.approx(np.mean(right))
    for wrong, error in ((0, ValueError), (-1, ValueError), (2.5, TypeError)):
        with pytest.raises(error, match="test_size must be"):
            sequential_mnist(data=tmp_path, hidden=2, test_size=wrong)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no picture", "cannot identify"),
        (None, "its numbers go from 0 to 70000, expected 0 to 65535"),
    ],
)
def test_what_is_wrong_with_a_picture_is_said_of_its_file(tmp_path, content, reason):
    path = tmp_path / "odd.tiff"
    if content is None:
        numbers = np.linspace(0, 70000, 12).reshape(4, 3).astype(np.int32)
        PIL.Image.fromarray(numbers).save(path)
    else:
        path.write_bytes(content)
    classify = sequential_digits(hidden=2).infer["classify"]
    for images in (path, [str(path)]):
        with pytest.raises(ValueError, match=rf"odd\.tiff: .* cannot be read: .*{reason}"):
            classify(None, images)
    with pytest.raises(FileNotFoundError, match=r"there is no picture .*none\.png"):
        classify(None, [tmp_path / "none.png"])


def test_pictures_given_as_arrays_are_checked():
    classify = sequential_digits(hidden=2).infer["classify"]
    good = np.zeros((8, 8))
    for bad, reason in (
        (good[:7], r"image 1 has shape \(7, 8\), expected \(8, 8\)"),
        (
            good + 1.5,
            r"image 1 is float64 from 1\.5 to 1\.5: expected uint8 .* floats from 0 to 1",
        ),
        (good * np.nan, "image 1 is float64 from nan"),
        (np.full((8, 8), 9), "image 1 is int64 from 9 to 9"),
        (good * 1j, "image 1 has dtype complex128"),
    ):
        with pytest.raises(ValueError, match=reason):
            classify(None, [good, bad])
    with pytest.raises(ValueError, match="no images to classify"):
        classify(None, [])
    with pytest.raises(TypeError, match="invert must be True or False, got 'no'"):
        classify(None, [good], invert="no")


def test_missing_files_are_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match="a folder with the four files of MNIST"):
        sequential_mnist(data=tmp_path)


def test_wrong_reading():
    with pytest.raises(ValueError, match="read must be one of 'pixels', 'rows', got 'columns'"):
        sequential_digits(read="columns")
