"""What commands print: tables of results, and errors in one line."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnnjax.experiments.cli._printing import printable, say, shortened, warnings_of
from rnnjax.experiments.tasks import Task
from rnnjax.experiments.training import Result, logged_mean, logged_values

FAILED = 1
WRONG_USE = 2
TRACEBACK = "RNNJAX_TRACEBACK"
_OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"


@contextmanager
def errors_of(command: str) -> Iterator[None]:
    """Print errors in one line: exit with 2 on wrong options, files or data, else with 1.

    With the environment variable `RNNJAX_TRACEBACK` set, errors are raised with their tracebacks.
    """
    if os.environ.get(TRACEBACK):
        yield
        return
    try:
        with warnings_of(command):
            yield
    except BrokenPipeError:
        raise
    except FloatingPointError as error:
        complain(command, error)
        raise typer.Exit(FAILED) from None
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and _OUT_OF_MEMORY not in str(error):
            raise
        said = re.search(r"allocating [\d.]+\s?\w+", str(error))
        size = f" {said[0]}" if said else ""
        complain(command, f"out of memory{size}: take smaller sizes, such as of the batches")
        raise typer.Exit(FAILED) from None
    except (ValueError, TypeError, OSError, ImportError) as error:
        complain(command, message_of(error))
        raise typer.Exit(WRONG_USE) from None


def complain(command: str, message: object, color: str = "red") -> None:
    """Print a line on standard error."""
    say(f"rnnjax {command}: {shortened(str(message))}", err=True, color=color)


def message_of(error: Exception) -> str:
    """The message of an error, without the error number of the operating system."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def show_results(task: Task, result: Result) -> None:
    """Print the task's metric beside its baselines, and the other metrics."""
    if not result.metrics:
        return
    metric = task.metric
    rows = [("trained", _value(result.metrics[metric.name]))]
    if result.best:
        by = f"by {task.select.name}" if task.select else "on the same data"
        best = f"trained, at its best {by} (step {result.best['step']})"
        rows.append((best, _value(result.best["value"])))
    if np.any(result.state.skipped):
        steps = int(np.max(result.state.step))
        each = ", ".join(f"{int(count):,}" for count in np.atleast_1d(result.state.skipped))
        rows.append((f"skipped updates, of {steps:,}", each))
    rows += [(f"baseline: {name}", _value(value)) for name, value in task.baselines.items()]
    rows += [(name, _value(value)) for name, value in result.metrics.items() if name != metric.name]
    better = "higher" if metric.goal == "max" else "lower"
    unit = f", {metric.unit}" if metric.unit else ""
    show_rows((f"{task.name}: {metric.name} ({better} is better{unit})", ""), rows, right=(1,))


def show_rows(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> None:
    """Print a table on standard output: framed on a terminal, elsewhere one plain line per row.

    Args:
      columns: their headings.
      rows: a text for each column.
      right: indices of the columns to right-align.
    """
    columns, *rows = ([printable(cell) for cell in row] for row in (columns, *rows))
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
        say("  ".join(cells).rstrip())


def _value(value: Any) -> str:
    """A logged value, or the mean over several seeds with the range."""
    if np.ndim(value) == 0:
        return f"{logged_mean(value):.4g}"
    each = logged_values(value)
    return f"{logged_mean(value):.4g} ({each.min():.4g} to {each.max():.4g})"
