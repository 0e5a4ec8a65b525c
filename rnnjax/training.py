"""Training: `rnnjax.experiments.training` under a shorter name."""

from rnnjax.experiments.training import *  # noqa: F403
