"""Train the tiny task into a folder, as a process to be killed: `run_tiny.py FOLDER`."""

import sys
import warnings

import jax
from tiny_task import RECIPE, tiny_task

from rnnjax.experiments.training import Settings, fit

warnings.simplefilter("error")
jax.config.update("jax_disable_most_optimizations", True)

SETTINGS = Settings(checkpoint_every=10, log_every=5, average=0.9)

if __name__ == "__main__":
    task = tiny_task(dropout=0.2, stateful=True, recipe=RECIPE._replace(steps=160))
    fit(task, SETTINGS, sys.argv[1], resume=True, quiet=True, config={"options": {"dropout": 0.2}})
