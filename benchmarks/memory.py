"""The memory of train steps, for each method and gradient, beside the JAX peers'."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from benchmarks.compare import Task
from benchmarks.contestants import Contestant
from benchmarks.footprint import footprint
from benchmarks.problem import Unsupported, make_problem

_MIB = 2**20


def measure_memory(task: Task, contestants: Sequence[Contestant]) -> dict[str, Any]:
    """One row, ready for JSON; nothing is run."""
    return {
        "cell": task.cell,
        "pass": task.which,
        "size": str(task.size),
        "entries": list(_entries(task, contestants)),
    }


def _entries(task: Task, contestants: Sequence[Contestant]) -> Iterator[dict[str, Any]]:
    problem = make_problem(task.cell, task.size)
    for contestant in contestants:
        entry: dict[str, Any] = {"name": contestant.name, "label": contestant.label}
        try:
            found = footprint(contestant.build(problem, task.which))
        except Unsupported as reason:
            yield entry | {"reason": str(reason)}
            continue
        if found is not None:
            yield entry | found._asdict() | {"total": found.total}


def memory_table(row: dict[str, Any]) -> Table:
    """MiB of each program, the smallest first."""
    title = f"{row['cell'].upper()} {row['pass']}   T,B,I,H = {row['size']}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None)
    table.add_column("MiB")
    for heading in ("arguments", "outputs", "temporaries", "total"):
        table.add_column(heading, justify="right")
    found = [entry for entry in row["entries"] if "total" in entry]
    for entry in sorted(found, key=lambda entry: entry["total"]):
        sizes = (entry[n] / _MIB for n in ("arguments", "outputs", "temporaries", "total"))
        table.add_row(entry["label"], *(f"{size:.2f}" for size in sizes))
    return table
