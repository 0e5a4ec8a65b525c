"""Sequential image classification: the UCI digits and MNIST."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np

from rnnjax._checks import check_nonnegative_int, check_positive_int
from rnnjax._names import option
from rnnjax.experiments._effects import check_no_effect
from rnnjax.experiments._fields import with_checked_options
from rnnjax.experiments.data.images import Images, digits, mnist
from rnnjax.experiments.tasks._options import (
    BatchSize,
    CellOption,
    ClipInLoop,
    Hidden,
    Layers,
    make_cell,
)
from rnnjax.experiments.tasks._recipes import DIGITS, MNIST
from rnnjax.experiments.tasks._task import Task
from rnnjax.experiments.tasks.images._sequential import reading, sequential_images

Read = Annotated[str, "Input of one step: 'pixels' (one pixel) or 'rows'."]
Permuted = Annotated[bool, "Permute the pixels randomly, in the same way for all images."]
PermutationSeed = Annotated[int, "Seed of the permutation."]


@with_checked_options
def sequential_digits(
    *,
    cell: CellOption = "lstm",
    hidden: Hidden = 64,
    layers: Layers = 1,
    read: Read = "pixels",
    permuted: Permuted = False,
    permutation_seed: PermutationSeed = 0,
    split_seed: Annotated[int, "Seed of the split into training and test images."] = 0,
    batch_size: BatchSize = 64,
    clip_in_loop: ClipInLoop = None,
) -> Task:
    """Classify handwritten digits of 8 x 8, read one pixel at a time.

        x_t = pixel t of 64, in [0, 1], row by row;   y = the digit, predicted after the last

    The 1,797 images of `rnnjax.experiments.data.digits`, a fifth of them for testing. With
    `read="rows"` there are 8 steps of 8 pixels. `permuted` removes local structure.

    Metric: accuracy; the most frequent class gets 0.1. The best checkpoint is chosen on the same
    test images, which makes its score optimistic: report the last.

    Args:
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer.
      layers: number of stacked layers.
      read: "pixels" or "rows".
      permuted: whether the pixels are permuted randomly.
      permutation_seed: of the permutation.
      split_seed: of the train/test split.
      batch_size: images per training batch.
      clip_in_loop: limit of each component of ∂C/∂z_t inside the backward loop, as by
        `rnnjax.bptt(clip=clip_by_value(limit))`; without it the exact gradient.

    Returns:
      A `Task` with `infer["classify"](params, images, *, invert=False)`.

    Raises:
      ImportError: scikit-learn or grain is not installed.
      ValueError: an unknown cell or reading, or a number below 1.

    Example:
      >>> from rnnjax.experiments.tasks import sequential_digits
      >>> sequential_digits(read="rows", batch_size=5).batches(0)[0].xs.shape
      (8, 5, 8)

    References:
      Alpaydin & Kaynak (1998), Optical recognition of handwritten digits, UCI Machine Learning
      Repository, doi 10.24432/C50P49.
      Le, Jaitly & Hinton (2015), A simple way to initialize recurrent networks of rectified
      linear units, arXiv 1504.00941, for reading images pixel by pixel.
    """
    _check_permutation(sequential_digits, permuted, permutation_seed)
    data = digits(check_nonnegative_int("split_seed", split_seed))
    side = math.isqrt(len(data.train_xs))

    def square(xs: np.ndarray) -> np.ndarray:
        return xs[:, :, 0].T.reshape(-1, side, side)

    return sequential_images(
        "digits",
        make_cell(cell, hidden, layers),
        Images(square(data.train_xs), data.train_labels, square(data.test_xs), data.test_labels),
        reading(read, permuted, permutation_seed, side * side),
        batch_size=batch_size,
        recipe=DIGITS,
        clip_in_loop=clip_in_loop,
    )


@with_checked_options
def sequential_mnist(
    *,
    data: Annotated[Path, "Folder with the four files of MNIST, .gz or not."] = Path("mnist"),
    cell: CellOption = "lstm",
    hidden: Hidden = 100,
    layers: Layers = 1,
    read: Read = "pixels",
    permuted: Permuted = False,
    permutation_seed: PermutationSeed = 0,
    test_size: Annotated[int | None, "Number of test images, from the first; by default all."] = (
        None
    ),
    batch_size: BatchSize = 100,
    clip_in_loop: ClipInLoop = None,
) -> Task:
    """Classify handwritten digits of 28 x 28, read one pixel at a time.

        x_t = pixel t of 784, in [0, 1], row by row;   y = the digit, predicted after the last

    A standard benchmark of long-term memory: 60,000 training and 10,000 test images. `permuted`
    removes local structure, which makes it harder. With `read="rows"` there are 28 steps of 28
    pixels. Any data set in the same format works.

    Metric: accuracy; the most frequent class gets 0.11. The best checkpoint is chosen on the same
    test images, which makes its score optimistic: report the last.

    Args:
      data: folder with the files; see `rnnjax.experiments.data.mnist`.
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer, 100 in the source.
      layers: number of stacked layers.
      read: "pixels" or "rows".
      permuted: whether the pixels are permuted randomly.
      permutation_seed: of the permutation.
      test_size: number of test images.
      batch_size: images per training batch.
      clip_in_loop: limit of each component of ∂C/∂z_t inside the backward loop, as by
        `rnnjax.bptt(clip=clip_by_value(limit))`; without it the exact gradient.

    Returns:
      A `Task` with `infer["classify"](params, images, *, invert=False)`.

    Raises:
      FileNotFoundError: a file is missing.
      ImportError: grain is not installed.
      ValueError: a malformed file, an unknown cell or reading, or a number below 1.

    References:
      LeCun, Bottou, Bengio & Haffner (1998), Gradient-based learning applied to document
      recognition, Proceedings of the IEEE 86.
      Le, Jaitly & Hinton (2015), A simple way to initialize recurrent networks of rectified
      linear units, arXiv 1504.00941.
    """
    _check_permutation(sequential_mnist, permuted, permutation_seed)
    if test_size is not None:
        check_positive_int("test_size", test_size)
    images = mnist(data)
    if test_size is not None:
        images = images._replace(
            test=images.test[:test_size], test_labels=images.test_labels[:test_size]
        )
    pixels = images.train.shape[1] * images.train.shape[2]
    return sequential_images(
        "mnist",
        make_cell(cell, hidden, layers),
        images,
        reading(read, permuted, permutation_seed, pixels),
        batch_size=batch_size,
        recipe=MNIST,
        clip_in_loop=clip_in_loop,
    )


def _check_permutation(task: Callable[..., Task], permuted: bool, seed: int) -> None:
    check_nonnegative_int("permutation_seed", seed)
    if not permuted:
        without = f"without {option('permuted', True)}"
        check_no_effect(task, {"permutation_seed": seed}, without)
