"""The sizes that are measured when none are named."""

from benchmarks.problem import Size

MAIN = (
    Size(128, 32, 128, 256),
    Size(1000, 1, 32, 64),
    Size(100, 32, 64, 64),
    Size(784, 100, 1, 128),  # MNIST pixel by pixel
    Size(35, 20, 650, 650),  # Zaremba's medium language model
    Size(128, 64, 512, 512),
    Size(100, 16, 1024, 1024),
    Size(64, 256, 256, 256),
)
EXTRA = (
    Size(50, 7, 13, 37),  # no multiple of any vector's width
    Size(200, 1, 256, 256),  # one sequence: every product is a vector's
    Size(100, 32, 128, 256, "layers2"),
    Size(100, 32, 128, 256, "bidirectional"),
    Size(128, 32, 128, 256, "ragged"),
)
QUICK = (Size(100, 32, 64, 64), Size(50, 7, 13, 37))
GRIDS = {"main": MAIN, "extra": EXTRA, "all": MAIN + EXTRA, "quick": QUICK}
