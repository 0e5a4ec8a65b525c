"""Train the tiny task into a folder, in a process that may be killed."""

import warnings
from pathlib import Path

import small_programs
from tiny_task import RECIPE, tiny_task

from rnnjax.experiments.training import Settings, fit

SETTINGS = Settings(checkpoint_every=10, log_every=5, average=0.9)


def run(folder: Path) -> None:
    task = tiny_task(dropout=0.2, stateful=True, recipe=RECIPE._replace(steps=160))
    fit(task, SETTINGS, folder, resume=True, quiet=True, config={"options": {"dropout": 0.2}})


def run_alone(folder: Path) -> None:
    """In a process of its own, set as `conftest` sets that of the tests."""
    warnings.simplefilter("error")
    small_programs.set_up_jax()
    run(folder)
