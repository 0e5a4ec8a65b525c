"""Whether a user's task is well formed, as far as that shows before it is used."""

from types import FunctionType
from typing import Any

from rnnjax._checks import check_callable, described
from rnnjax.experiments._metrics import check_metric
from rnnjax.experiments.tasks import Batches, Recipe, Task

_FUNCTIONS = {
    "init": "(key) -> params",
    "loss": "(params, carry, batch, key) -> (cost, (carry, metrics))",
    "batches": "(seed) -> batches",
    "evaluate": "(params) -> scores",
}


def check_task(task: Any) -> Task:
    """`task`, if it is a `Task` of functions, with metrics that say which value is better."""
    if not isinstance(task, Task):
        call = f": call it, as in {task.__name__}()" if isinstance(task, FunctionType) else ""
        raise TypeError(f"task must be a Task such as tasks.parity(), got {described(task)}{call}")
    for name, form in _FUNCTIONS.items():
        check_callable(f"task.{name}", getattr(task, name), form)
    if not callable(task.initial_carry):
        got = described(task.initial_carry)
        raise TypeError(f"task.initial_carry must be a function () -> carry, got {got}")
    if not isinstance(task.recipe, Recipe):
        raise TypeError(f"task.recipe must be a Recipe, got {described(task.recipe)}")
    check_metric("task.metric", task.metric)
    if task.select is not None:
        check_metric("task.select", task.select)
    return task


def check_batches(batches: Any, seed: int, needed: int) -> Batches:
    """`batches` of a seed, if they are indexed by step and not a list that is too short."""
    if not hasattr(batches, "__getitem__"):
        raise TypeError(
            f"task.batches({seed}) must be indexed by step, [step] -> batch, always the same, got "
            f"{described(batches)}: a list is, and an object with __getitem__"
        )
    if type(batches) in (list, tuple) and len(batches) < needed:
        raise ValueError(
            f"task.batches({seed}) has {len(batches)} batches, and the run needs {needed}: return "
            "an object whose [step] begins again, as a grain.MapDataset does by repeat()"
        )
    return batches
