"""What every test runs under: float64, no rank promotion, fixed seeds."""

import random
from collections.abc import Iterator

import jax
import numpy as np
import pytest
from hypothesis import settings

jax.config.update("jax_enable_x64", True)
# The suite compiles thousands of tiny programs; optimising them takes longer than running them.
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

settings.register_profile("rnnjax", deadline=None, derandomize=True, database=None, max_examples=12)
settings.load_profile("rnnjax")


@pytest.fixture
def eager() -> Iterator[None]:
    """Run op by op: for tests of values on tiny shapes, whose cost is compiling them as a whole.

    Primitives are compiled once in a process, and shared by all tests of equal shapes.
    """
    with jax.disable_jit():
        yield


def pytest_runtest_setup() -> None:
    random.seed(0)
    np.random.seed(0)
