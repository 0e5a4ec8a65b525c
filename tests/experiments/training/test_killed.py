"""A run that is killed at any moment resumes to bit-identical results."""

import multiprocessing
import random
import signal
import time

import jax
import numpy as np
import pytest
from run_tiny import SETTINGS, STEPS, run, run_alone
from tiny_task import RECIPE, tiny_task

from rnnjax.experiments.training import load, read_metrics
from rnnjax.experiments.training._checkpoints import Checkpoints
from rnnjax.experiments.training._settings import resolve
from rnnjax.experiments.training._setup import initial_state

KILLS = 2
TIMES = ("seconds", "steps_per_second")
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["rnnjax.experiments.training", "rnnjax.experiments.tasks"])


def kill(folder, rng):
    """Kill a run at a random time after it has logged some new lines."""
    enough = min(len(read_metrics(folder)) + rng.randint(2, 8), STEPS // SETTINGS.log_every)
    process = PROCESSES.Process(target=run_alone, args=(folder,))
    process.start()
    while len(read_metrics(folder)) < enough and process.is_alive():
        time.sleep(0.005)
    time.sleep(rng.uniform(0.0, 0.06))  # a checkpoint takes about as long
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def final_state(folder):
    task = tiny_task(dropout=0.2, stateful=True)
    like = initial_state(task, resolve(SETTINGS, RECIPE))
    checkpoints = Checkpoints(folder)
    state = checkpoints.restore(checkpoints.latest().step, like)
    return state._replace(key=jax.random.key_data(state.key))


def without_times(folder):
    return [
        {name: value for name, value in line.items() if name not in TIMES}
        for line in read_metrics(folder)
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    whole, killed = (tmp_path_factory.mktemp(name) / "run" for name in ("whole", "killed"))
    rng = random.Random(time.time_ns())
    for _ in range(KILLS):
        kill(killed, rng)
    run(killed)
    run(whole)
    return whole, killed


def test_the_final_state_is_bit_identical(runs):
    whole, killed = map(final_state, runs)
    assert int(whole.step) == STEPS
    for (path, one), (_, other) in zip(
        *(jax.tree_util.tree_flatten_with_path(state)[0] for state in (whole, killed)), strict=True
    ):
        np.testing.assert_array_equal(one, other, err_msg=jax.tree_util.keystr(path))


def test_the_loaded_average_is_bit_identical(runs):
    whole, killed = (load(folder, tiny_task(dropout=0.2)) for folder in runs)
    jax.tree.map(np.testing.assert_array_equal, whole, killed)
    averages = final_state(runs[0]).average
    jax.tree.map(np.testing.assert_array_equal, whole, averages)


def test_every_line_is_logged_once(runs):
    whole, killed = map(without_times, runs)
    assert [line["step"] for line in whole] == list(range(5, 161, 5))
    assert killed == whole


def test_no_partial_files_are_left(runs):
    names = {path.name for path in runs[1].rglob("*")}
    assert not [name for name in names if "tmp" in name or "partial" in name]
    assert (runs[1] / "results.json").exists()
