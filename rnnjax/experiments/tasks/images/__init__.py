"""Image classification, pixel by pixel or row by row."""

from rnnjax.experiments.tasks.images._sequential import restore_images
from rnnjax.experiments.tasks.images._tasks import sequential_digits, sequential_mnist

__all__ = ["restore_images", "sequential_digits", "sequential_mnist"]
