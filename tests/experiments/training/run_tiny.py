"""Train the tiny task into a folder, in a process that may be killed."""

import time
import warnings
from pathlib import Path

import small_programs
from tiny_task import RECIPE, tiny_task

from rnnjax.experiments.training import Settings, fit

SETTINGS = Settings(checkpoint_every=10, log_every=5, average=0.9)
STEPS = 160


def run(folder: Path) -> None:
    task = tiny_task(dropout=0.2, stateful=True, recipe=RECIPE._replace(steps=STEPS))
    fit(task, SETTINGS, folder, resume=True, quiet=True, config={"options": {"dropout": 0.2}})


def run_alone(folder: Path) -> None:
    """In a process of its own, set as `conftest` sets that of the tests, until it is killed."""
    warnings.simplefilter("error")
    small_programs.set_up_jax()
    run(folder)
    time.sleep(60)
