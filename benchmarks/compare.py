"""rnnjax beside its peers: everyone is checked first, then all are timed in turns."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from benchmarks.contestants import Contestant
from benchmarks.problem import Pass, Problem, Size, Unsupported, flops, make_problem
from benchmarks.program import Answer, Program
from benchmarks.reference import TOLERANCE, reference, worst_error
from benchmarks.statistics import geometric_mean, speedup, summary
from benchmarks.timing import interleave

RIVALS = ("fastest", "jax", "torch")
"""What rnnjax is compared with: the fastest peer, the fastest JAX peer, PyTorch."""


class Task(NamedTuple):
    """A row of the results."""

    cell: str
    size: Size
    which: Pass

    def __str__(self) -> str:
        return f"{self.cell} {self.which} {self.size}"


def measure(task: Task, contestants: Sequence[Contestant], seconds: float) -> dict[str, Any]:
    """One row, ready for JSON: an entry for each contestant, timed, skipped or in error."""
    problem = make_problem(task.cell, task.size)
    exact = reference(problem, task.which)
    entries: dict[str, dict[str, Any]] = {}
    programs: dict[str, Program] = {}
    for contestant in contestants:
        program, entry = admit(contestant, problem, task.which, exact)
        entries[contestant.name] = entry
        if program is not None:
            programs[contestant.name] = program
    times = interleave({name: program.run for name, program in programs.items()}, seconds)
    jax.clear_caches()  # a long run would otherwise keep every program ever compiled
    return timed_row(task, entries, programs, times)


def timed_row(
    task: Task,
    entries: dict[str, dict[str, Any]],
    programs: dict[str, Program],
    times: dict[str, list[float]],
) -> dict[str, Any]:
    """The row, with seconds and, for rnnjax, how many times faster than its rivals it is."""
    for name, program in programs.items():
        entries[name] |= summary(times[name])._asdict()
        if program.family == "rnnjax":
            entries[name]["speedups"] = _speedups(times[name], programs, times)
    return {
        "cell": task.cell,
        "pass": task.which,
        "size": str(task.size),
        **task.size._asdict(),
        "flops": flops(task.cell, task.size, task.which),
        "entries": list(entries.values()),
    }


def admit(
    contestant: Contestant,
    problem: Problem,
    which: Pass,
    exact: Answer | None,
    tolerance: float = TOLERANCE,
) -> tuple[Program | None, dict[str, Any]]:
    """Build, run and check a program. Only one whose answer is right is given back, to be timed.

    Without an exact answer it is run, but not checked.
    """
    entry: dict[str, Any] = {
        "name": contestant.name,
        "label": contestant.label,
        "family": contestant.family,
    }
    try:
        program = contestant.build(problem, which)
        output = program.run()
        error, worst = (0.0, "") if exact is None else worst_error(program.answer(output), exact)
    except Unsupported as reason:
        return None, entry | {"status": "skipped", "reason": str(reason)}
    except Exception as failure:  # a library that breaks is a row, not the end of the run
        reason = f"{type(failure).__name__}: {failure}".splitlines()[0]
        return None, entry | {"status": "error", "reason": reason}
    entry["error"] = error
    if not error <= tolerance:
        reason = f"{worst} is wrong by {error:.1e} of its largest value, {tolerance:.0e} allowed"
        return None, entry | {"status": "error", "reason": reason}
    return program, entry | {"status": "timed"}


def _speedups(
    ours: list[float], programs: dict[str, Program], times: dict[str, list[float]]
) -> dict[str, float]:
    """How many times faster than each rival that took part."""
    families = {"fastest": ("jax", "torch"), "jax": ("jax",), "torch": ("torch",)}
    found: dict[str, float] = {}
    for rival in RIVALS:
        names = [name for name, p in programs.items() if p.family in families[rival]]
        if names:
            fastest = min(names, key=lambda name: summary(times[name]).median_ms)
            found[rival] = speedup(ours, times[fastest])
    return found


def finish(rows: list[dict[str, Any]], rate: float) -> list[dict[str, Any]]:
    """Add to every row the floor, and to every time how many floors it is."""
    for row in rows:
        row["floor_ms"] = row["flops"] / rate * 1e3
        for entry in row["entries"]:
            if entry["status"] == "timed":
                entry["floors"] = entry["median_ms"] / row["floor_ms"]
    return rows


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Geometric means of the speed-ups over the rows of each cell and pass, for each variant."""
    groups: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for row in rows:
        for entry in row["entries"]:
            if "speedups" in entry:
                key = (row["cell"], row["pass"], entry["name"])
                groups.setdefault(key, []).append(entry["speedups"])
    return [
        {"cell": cell, "pass": which, "name": name, "rows": len(found)}
        | {r: geometric_mean([s[r] for s in found if r in s]) for r in RIVALS}
        for (cell, which, name), found in groups.items()
    ]
