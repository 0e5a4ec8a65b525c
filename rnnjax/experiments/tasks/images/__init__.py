"""Images read as sequences."""

from rnnjax.experiments.tasks.images._idx import read_idx
from rnnjax.experiments.tasks.images._mnist import Images, mnist
from rnnjax.experiments.tasks.images._tasks import sequential_digits, sequential_mnist

__all__ = ["Images", "mnist", "read_idx", "sequential_digits", "sequential_mnist"]
