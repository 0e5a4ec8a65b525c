"""Synthetic tasks, whose batches are drawn on the device from a key."""

from rnnjax.experiments.tasks.synthetic._adding import adding
from rnnjax.experiments.tasks.synthetic._copying import copying
from rnnjax.experiments.tasks.synthetic._counting import counting
from rnnjax.experiments.tasks.synthetic._delayed_xor import delayed_xor
from rnnjax.experiments.tasks.synthetic._dyck import dyck
from rnnjax.experiments.tasks.synthetic._lorenz import lorenz
from rnnjax.experiments.tasks.synthetic._match_to_sample import match_to_sample
from rnnjax.experiments.tasks.synthetic._parity import parity
from rnnjax.experiments.tasks.synthetic._sine import sine
from rnnjax.experiments.tasks.synthetic._temporal_order import temporal_order

__all__ = [
    "adding",
    "copying",
    "counting",
    "delayed_xor",
    "dyck",
    "lorenz",
    "match_to_sample",
    "parity",
    "sine",
    "temporal_order",
]
