"""Classification of images as sequences: pixel order, batches, evaluation, inference."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import check_choice, check_flag, check_positive_int
from rnnjax._extras import optional
from rnnjax._names import option
from rnnjax._types import Array, Cell, Params
from rnnjax.experiments._memory import check_fits
from rnnjax.experiments.data import digest_arrays
from rnnjax.experiments.data.images import Images, check_pixels, read_grey
from rnnjax.experiments.tasks._net import Net, dense_net
from rnnjax.experiments.tasks._notes import class_counts
from rnnjax.experiments.tasks._options import CellOption, make_cell
from rnnjax.experiments.tasks._sequences import Sequences, classification, hits
from rnnjax.experiments.tasks._task import Batches, Metric, Model, Recipe, Task
from rnnjax.scenarios import cross_entropy

READINGS = ("pixels", "rows")
_CHUNK = 250  # test images at once


class Reading(NamedTuple):
    """How an image is converted to a sequence."""

    read: str  # "pixels" or "rows"
    permutation: np.ndarray | None  # [pixels], the same for all images


def reading(read: str, permuted: bool, permutation_seed: int, pixels: int) -> Reading:
    """The reading order that options and a seed describe."""
    check_choice("read", read, READINGS)
    order = np.random.default_rng(permutation_seed).permutation(pixels) if permuted else None
    return Reading(read, order)


def as_sequences(images: np.ndarray, how: Reading) -> np.ndarray:
    """`[B, height, width]` as `[T, B, D]` float32 in [0, 1], time first."""
    batch, _, width = images.shape
    pixels = np.asarray(images).reshape(batch, -1)
    if how.permutation is not None:
        pixels = pixels[:, how.permutation]
    if pixels.dtype == np.uint8:
        pixels = pixels.astype(np.float32) / 255
    features = 1 if how.read == "pixels" else width
    sequences = pixels.astype(np.float32).reshape(batch, -1, features)
    return np.ascontiguousarray(sequences.transpose(1, 0, 2))


def sequential_images(
    name: str,
    cell: Cell,
    images: Images,
    how: Reading,
    *,
    batch_size: int,
    recipe: Recipe,
    clip_in_loop: float | None,
) -> Task:
    """A `Task` of classifying images that are read as sequences.

    Args:
      name, recipe: of the task.
      cell: the recurrent part; a dense head on its last output predicts the class.
      images: the images.
      how: the reading order.
      batch_size: images per training batch.
      clip_in_loop: as in `dense_net`.
    """
    check_positive_int("batch_size", batch_size)
    classes = 1 + int(max(images.train_labels.max(), images.test_labels.max()))
    size = images.train.shape[1], images.train.shape[2]
    what = f"{option('batch_size', batch_size)}: a batch of images of {size[0]} x {size[1]} pixels"
    check_fits(what, 4 * math.prod(size) * max(batch_size, min(_CHUNK, len(images.test))))
    net = _net(cell, classes, size, how, clip_in_loop)
    most = np.bincount(images.train_labels).argmax()
    return Task(
        name,
        net.init,
        net.loss,
        _batches(images, how, batch_size),
        _evaluation(net, images, how),
        Metric("accuracy", "max"),
        recipe,
        baselines={"most frequent class": float(np.mean(images.test_labels == most))},
        recurrence=net.recurrence,
        infer={"classify": _classify(net, size, how)},
        data={
            "height": size[0],
            "width": size[1],
            "classes": classes,
            "training_images": len(images.train),
            "test_images": len(images.test),
        },
        digest=lambda: digest_arrays(*images),
        notes=[_note(images)],
    )


def _note(images: Images) -> str:
    height, width = images.train.shape[1:3]
    counts = np.bincount(images.train_labels)
    return (
        f"images of {height} x {width} pixels: {len(images.train):,} for training, "
        f"{len(images.test):,} for testing; training images of each class: "
        f"{class_counts(range(len(counts)), counts)}"
    )


def restore_images(
    facts: Mapping[str, Any],
    /,
    *,
    cell: CellOption,
    hidden: int,
    layers: int,
    read: str,
    permuted: bool,
    permutation_seed: int,
    **_: Any,
) -> Model:
    """The model of a task made by `sequential_images`, from `Task.data` and the same options."""
    size = facts["height"], facts["width"]
    how = reading(read, permuted, permutation_seed, size[0] * size[1])
    net = _net(make_cell(cell, hidden, layers), facts["classes"], size, how, None)
    return Model(net.init, {"classify": _classify(net, size, how)})


def _net(
    cell: Cell, classes: int, size: tuple[int, int], how: Reading, clip_in_loop: float | None
) -> Net:
    form = _batch(np.zeros((1, *size), np.uint8), np.zeros(1, np.int32), how)
    return dense_net(cell, classes, classification(), form, clip_in_loop)


def _batch(images: np.ndarray, labels: np.ndarray, how: Reading) -> Sequences:
    return Sequences(jnp.asarray(as_sequences(images, how)), jnp.asarray(labels))


def _batches(images: Images, how: Reading, batch_size: int) -> Callable[[int], Batches]:
    grain = optional("grain")

    def batch(rows: np.ndarray) -> Sequences:
        rows = np.sort(rows)  # in file order
        return _batch(images.train[rows], images.train_labels[rows], how)

    def batches(seed: int) -> Batches:
        rows = grain.MapDataset.range(len(images.train)).shuffle(seed)
        return rows.repeat().batch(batch_size).map(batch)

    return batches


def _evaluation(net: Net, images: Images, how: Reading) -> Callable[[Params], dict[str, float]]:
    @jax.jit
    def sums(params: Params, batch: Sequences, counts: Array) -> tuple[Array, Array]:
        logits = net.outputs(params, batch)
        right = hits(logits, batch.targets) & counts
        cost = cross_entropy(logits, batch.targets, counts)
        return cost * jnp.sum(counts).astype(cost.dtype), jnp.sum(right)

    total = len(images.test)
    size = min(total, _CHUNK)

    def evaluate(params: Params) -> dict[str, float]:
        loss = right = 0.0
        for begin in range(0, total, size):
            rows = np.arange(begin, begin + size)
            held = np.minimum(rows, total - 1)  # pads the last chunk
            batch = _batch(images.test[held], images.test_labels[held], how)
            found = sums(params, batch, rows < total)
            loss, right = loss + float(found[0]), right + float(found[1])
        return {"loss": loss / total, "accuracy": right / total}

    return evaluate


def _classify(net: Net, size: tuple[int, int], how: Reading) -> Callable[..., Any]:
    def classify(
        params: Params,
        images: Iterable[Path | str | np.ndarray] | Path | str,
        *,
        invert: bool = False,
    ) -> list[tuple[str, float]]:
        """Classify images: `(class, probability)` for each.

        Args:
          params: of a trained model.
          images: one or more picture files, resized to the size of the training images, or arrays
            of that size with grey values in [0, 1] (0..255 for uint8).
          invert: for dark ink on a bright background; training images are bright on dark.
        """
        check_flag("invert", invert)
        images = [images] if isinstance(images, str | Path) else list(images)
        if not images:
            raise ValueError("no images to classify: expected picture files, or arrays")
        pixels = np.stack([_grey(f"image {k}", each, size) for k, each in enumerate(images)])
        unknown = np.zeros(len(pixels), np.int32)
        batch = _batch(1 - pixels if invert else pixels, unknown, how)
        chances = np.asarray(jax.nn.softmax(net.outputs(params, batch), axis=-1))
        return [(str(row.argmax()), float(row.max())) for row in chances]

    return classify


def _grey(name: str, image: Path | str | np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`[height, width]` float32 in [0, 1]."""
    pixels = read_grey(image, size) if isinstance(image, Path | str) else np.asarray(image)
    if pixels.shape != size:
        raise ValueError(f"{name} has shape {pixels.shape}, expected {size}: height and width")
    check_pixels(name, pixels)
    return pixels.astype(np.float32) / (255 if pixels.dtype == np.uint8 else 1)
