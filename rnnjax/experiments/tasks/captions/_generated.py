"""The generated pictures as a source of captions."""

from functools import lru_cache

import numpy as np

from rnnjax.experiments.tasks.captions._captioned import Captioned, Source
from rnnjax.experiments.tasks.captions._pictures import Part, picture, scene_of

_REMEMBERED = 8192  # pictures


def generated(train: int, test: int, side: int = 32) -> Source:
    """Training pictures, and two sets to test on: further pictures, and held-out combinations.

    Args:
      train: how many pictures to train on.
      test: how many of each set to test on.
      side: height and width in pixels.
    """
    return Source(
        _part("train", train, side),
        {
            "pictures": _part("pictures", test, side),
            "combinations": _part("combinations", test, side),
        },
    )


def _part(part: Part, count: int, side: int) -> Captioned:
    @lru_cache(_REMEMBERED)
    def read(number: int) -> np.ndarray:
        return picture(number, part=part, side=side).image

    captions = [scene_of(k, part=part).sentences for k in range(count)]
    return Captioned(lambda number: read(int(number)), captions)
