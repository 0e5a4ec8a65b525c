"""Tables: of a run's figures beside its baselines, and of anything in rows."""

import sys
from collections.abc import Iterable, Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from rnnjax.tasks import Task
from rnnjax.training import Result

_PLAIN_WIDTH = 120


def show_results(task: Task, result: Result) -> None:
    """Print the task's metric beside its baselines, and what else was measured."""
    if not result.metrics:
        return
    metric = task.metric
    rows = [("trained", _figure(result.metrics[metric.name]))]
    if result.best:
        step = f"trained, at its best (step {result.best['step']})"
        rows.append((step, _figure(result.best["value"])))
    rows += [(f"without a net: {name}", _figure(value)) for name, value in task.baselines.items()]
    rows += [
        (name, _figure(value)) for name, value in result.metrics.items() if name != metric.name
    ]
    better = "more" if metric.goal == "max" else "less"
    unit = f", {metric.unit}" if metric.unit else ""
    show_rows((f"{task.name}: {metric.name} ({better} is better{unit})", ""), rows, right=(1,))


def show_rows(
    columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()
) -> None:
    """A table on standard output: framed on a terminal, else plain."""
    terminal = sys.stdout.isatty()
    table = Table(box=box.ROUNDED if terminal else None, pad_edge=terminal)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=None if terminal else _PLAIN_WIDTH, markup=False, highlight=False).print(table)


def _figure(value: float | Sequence[float]) -> str:
    """A number, or the mean of several seeds with what they span."""
    if np.ndim(value) == 0:
        return f"{value:.4g}"
    numbers = np.asarray(value, float)
    return f"{numbers.mean():.4g} ({numbers.min():.4g} to {numbers.max():.4g})"
