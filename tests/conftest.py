"""What every test runs under: float64, no rank promotion, fixed seeds."""

import functools
import gc
import os
import random
import signal
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

# Most of the time that XLA takes to compile a tiny program goes into its fusion emitters and into
# cutting it in pieces, to compile them side by side. XLA ends a process that sets a flag which it
# does not know.
os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", "")]
    + ["--xla_cpu_use_fusion_emitters=false"] * version("jaxlib").startswith("0.10.")
    + ["--xla_cpu_parallel_codegen_split_count=1"]
    * version("jaxlib").startswith(("0.10.", "0.12."))
)

import by_numpy
import jax
import numpy as np
import pytest
import small_programs
from hypothesis import settings
from op_by_op import op_by_op

small_programs.set_up_jax()
jax.config.update("jax_numpy_rank_promotion", "raise")

if find_spec("grain"):
    # To shuffle, Grain draws a place in 2^16 until it lies in the data set: 13 ms for one of two
    # examples. The tests train on the same few examples in the same order again and again.
    from grain._src.python.experimental.index_shuffle.python import index_shuffle_module as grains

    grains.index_shuffle = functools.cache(grains.index_shuffle)

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)

MAPS = Path("/proc/self/maps")

settings.register_profile("rnnjax", deadline=None, derandomize=True, database=None, max_examples=12)
settings.load_profile("rnnjax")


gc.set_threshold(50_000, 20, 100)  # JAX makes millions of objects, of which few are garbage
gc.disable()  # while the tests are collected: nothing of that is garbage


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture
def eager() -> Iterator[None]:
    """Run without compiling, see `op_by_op`."""
    with op_by_op():
        yield


@pytest.fixture
def by_xla(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile every program, as users do, see `small_programs`.

    For tests of what XLA makes of a program, and of equal bits by programs of different lengths, of
    which one may be small.
    """
    monkeypatch.setattr(small_programs, "limit", 0)


@pytest.fixture
def keep_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let benchmarks keep the programs and the garbage of the tests that share their process."""
    monkeypatch.setattr(jax, "clear_caches", lambda: None)
    monkeypatch.setattr(gc, "collect", lambda: 0)


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Keep garbage collection cheap, and the memory maps below what Linux allows a process.

    JAX keeps what it traced, millions of objects that every full collection would visit again:
    frozen, they are passed by. XLA maps every program several times; beyond 65,530 maps it ends the
    process, so compiled programs are forgotten before.
    """
    small_programs.limit = small_programs.TINY  # in doctests, which do not come by here, too
    if nextitem is None or nextitem.path != item.path:
        by_numpy.forget()
        if nextitem is not None and _maps() > 10_000:
            jax.clear_caches()
            gc.unfreeze()
            gc.collect()
        gc.freeze()


def _maps() -> int:
    if not MAPS.exists():
        return 0
    with MAPS.open("rb") as maps:
        return sum(1 for _ in maps)


# What one runs or reads rather than imports is compiled as its users do.
HERE = Path(__file__).parent
COMPILED = [HERE / name for name in ("benchmarks", "docs", "examples", "experiments")]


def pytest_runtest_setup(item: pytest.Item) -> None:
    is_library = not any(item.path.is_relative_to(folder) for folder in COMPILED)
    small_programs.limit = small_programs.SMALL if is_library else small_programs.TINY
    random.seed(0)
    np.random.seed(0)
