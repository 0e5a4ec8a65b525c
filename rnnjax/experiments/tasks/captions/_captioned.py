"""Pictures with captions, from wherever they come."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Captioned(NamedTuple):
    """Pictures to be had by their number, each with its captions."""

    read: Callable[[int], np.ndarray]  # number -> [S, S, 3] uint8, or features given for it
    captions: Sequence[tuple[str, ...]]  # of each picture, at least one


class Source(NamedTuple):
    train: Captioned
    tests: Mapping[str, Captioned]  # "pictures", and of the generated set "combinations"
