"""What the tests of experiments share."""

import functools

from grain._src.python.experimental.index_shuffle.python import index_shuffle_module

# Grain draws a place in 2^16 until it lies in the data set: 13 ms for one of two examples. The
# tests train on the same few examples in the same order again and again.
index_shuffle_module.index_shuffle = functools.cache(index_shuffle_module.index_shuffle)
