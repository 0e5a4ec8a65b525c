"""Tables: of a run's figures beside its baselines, and of anything in rows."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnnjax.experiments.tasks import Task
from rnnjax.experiments.training import Result, mean_of, numbers


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
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> None:
    """A table on standard output: framed on a terminal, elsewhere a plain line for each row.

    Args:
      columns: their heads.
      rows: a text for each column.
      right: numbers of the columns to align on the right.
    """
    if not sys.stdout.isatty():
        _print_lines([columns, *rows], right)
        return
    table = Table(box=box.SIMPLE_HEAD)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)


def _print_lines(rows: Sequence[Sequence[str]], right: Sequence[int]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        typer.echo("  ".join(cells).rstrip())


def _figure(value: Any) -> str:
    """A logged number, or the mean of several seeds with what they span."""
    if np.ndim(value) == 0:
        return f"{mean_of(value):.4g}"
    each = numbers(value)
    return f"{mean_of(value):.4g} ({each.min():.4g} to {each.max():.4g})"
