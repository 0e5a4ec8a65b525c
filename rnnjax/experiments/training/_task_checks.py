"""Whether a user's task is well formed, as far as that shows before it is used."""

from types import FunctionType
from typing import Any

from rnnjax._checks import described
from rnnjax.experiments._metrics import check_metric
from rnnjax.experiments.tasks import Task


def check_task(task: Any) -> Task:
    """`task`, if it is a `Task` with metrics that say which value is better."""
    if not isinstance(task, Task):
        call = f": call it, as in {task.__name__}()" if isinstance(task, FunctionType) else ""
        raise TypeError(f"task must be a Task such as tasks.parity(), got {described(task)}{call}")
    check_metric("task.metric", task.metric)
    if task.select is not None:
        check_metric("task.select", task.select)
    return task
