"""How time and memory grow with T, B and H."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from benchmarks.compare import admit
from benchmarks.contestants import Contestant
from benchmarks.footprint import footprint
from benchmarks.problem import Pass, Size, Unsupported, make_problem
from benchmarks.program import Program
from benchmarks.reference import reference
from benchmarks.statistics import fit_power, summary
from benchmarks.timing import interleave

AXES = ("T", "B", "H")
LONG = (100, 316, 1000, 3162, 10_000, 31_623, 100_000)


class Point(NamedTuple):
    """A size on the way along one axis."""

    axis: str
    cell: str
    which: Pass
    size: Size

    def __str__(self) -> str:
        return f"{self.cell} {self.which} {self.axis} = {getattr(self.size, self.axis)}"


def sweep(axis: str, *, quick: bool = False) -> list[Size]:
    """The sizes along an axis; I follows H. Small H along T, so that T = 10^5 fits in memory."""
    sizes = {
        "T": [Size(T, 4, 16, 16) for T in LONG],
        "B": [Size(64, B, 64, 64) for B in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)],
        "H": [Size(32, 16, H, H) for H in (16, 32, 64, 128, 256, 512, 1024)],
    }[axis]
    return sizes[:4] if quick else sizes


def measure_point(
    point: Point, contestants: Sequence[Contestant], seconds: float, *, check: bool
) -> dict[str, Any]:
    """Times and footprints at one size. `check` holds every answer to the reference first."""
    problem = make_problem(point.cell, point.size)
    exact = reference(problem, point.which) if check else None
    programs: dict[str, Program] = {}
    reasons: dict[str, str] = {}
    for contestant in contestants:
        program, entry = admit(contestant, problem, point.which, exact)
        if program is not None:
            programs[contestant.name] = program
        else:
            reasons[contestant.name] = entry["reason"]
    times = interleave({name: program.run for name, program in programs.items()}, seconds)
    found = {"axis": point.axis, "value": getattr(point.size, point.axis), "size": str(point.size)}
    found["entries"] = {
        name: summary(times[name])._asdict() | {"bytes": _total(program)}
        for name, program in programs.items()
    }
    jax.clear_caches()
    return found | {"reasons": reasons}


def _total(program: Program) -> int | None:
    try:
        found = footprint(program)
    except Unsupported:
        return None
    return None if found is None else found.total


def lines(points: Sequence[dict[str, Any]], axis: str, quantity: str) -> dict[str, Any]:
    """x, y and the fitted power of each program, along one axis; without those with no data."""
    found: dict[str, Any] = {}
    on_axis = [point for point in points if point["axis"] == axis]
    for name in dict.fromkeys(name for point in on_axis for name in point["entries"]):
        pairs = [
            (point["value"], point["entries"][name][quantity])
            for point in on_axis
            if point["entries"].get(name, {}).get(quantity) is not None
        ]
        if pairs:
            x, y = zip(*pairs, strict=True)
            found[name] = {"x": x, "y": y, "fit": fit_power(x, y)}
    return found
