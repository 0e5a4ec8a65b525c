"""Images: IDX files, handwritten digits, and pictures at a given size."""

from rnnjax.experiments.data.images._digits import Digits, Images, digits, mnist
from rnnjax.experiments.data.images._idx import read_idx
from rnnjax.experiments.data.images._pictures import (
    as_picture,
    check_pixels,
    read_grey,
    read_image,
)

__all__ = [
    "Digits",
    "Images",
    "as_picture",
    "check_pixels",
    "digits",
    "mnist",
    "read_grey",
    "read_idx",
    "read_image",
]
