"""Images: IDX files, handwritten digits, and pictures at a given size."""

from rnnjax.experiments.data.images._digits import Digits, Images, digits, mnist
from rnnjax.experiments.data.images._idx import read_idx
from rnnjax.experiments.data.images._pictures import as_picture, in_eight_bits, read_image

__all__ = [
    "Digits",
    "Images",
    "as_picture",
    "digits",
    "in_eight_bits",
    "mnist",
    "read_idx",
    "read_image",
]
