"""What is known about a task before it is made."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from rnnjax.experiments.tasks._task import Task


class TaskEntry(NamedTuple):
    make: Callable[..., Task]  # keyword-only options, each annotated with its help text
    summary: str  # one line
    kind: Literal["synthetic", "real"]
    source: str  # the paper or the data that it comes from
    metric: str = ""  # what it is judged by, in a few words
