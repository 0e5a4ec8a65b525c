"""The tasks: `rnnjax.experiments.tasks` under a shorter name."""

from rnnjax.experiments.tasks import *  # noqa: F403
