"""Interleaved timing: A B C A B C …, so that drift of the machine meets every program alike."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PAUSE = 0.01
"""Seconds before each turn, in which the last program's worker threads stop spinning."""
SHORT = 0.05
"""A program shorter than this runs once untimed in each turn, so that its own data are in the
cache as in a training loop, not those of the program before."""
MIN_ROUNDS, MAX_ROUNDS = 5, 2000


def interleave(programs: Mapping[str, Callable[[], Any]], budget: float) -> dict[str, list[float]]:
    """Seconds of every program in every round, in as many rounds as `budget` seconds hold.

    Programs are run once before, so that nothing is compiled or loaded within a round.
    """
    short = {name: seconds(run) < SHORT for name, run in programs.items()}
    times: dict[str, list[float]] = {name: [] for name in programs}
    if not programs:
        return times
    end = time.perf_counter() + budget
    with _no_collection():
        for rounds in range(MAX_ROUNDS):
            if rounds >= MIN_ROUNDS and time.perf_counter() > end:
                break
            for name, run in programs.items():
                time.sleep(PAUSE)
                if short[name]:
                    run()
                times[name].append(seconds(run))
    return times


def seconds(run: Callable[[], Any]) -> float:
    """Wall-clock time of one call, which must wait for its result by itself."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
