"""Results on a terminal."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from benchmarks.compare import RIVALS

RIVAL_LABELS = {"fastest": "vs fastest peer", "jax": "vs fastest JAX", "torch": "vs PyTorch"}


def row_table(row: Mapping[str, Any]) -> Table:
    """One cell, size and pass: the fastest first, then who was not timed, and why."""
    title = f"{row['cell'].upper()} {row['pass']}   T,B,I,H = {row['size']}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None)
    table.add_column("")
    for heading in ("median ms", "min", "quartiles", "rounds", "floors", "error"):
        table.add_column(heading, justify="right")
    for rival in RIVALS:
        table.add_column(RIVAL_LABELS[rival], justify="right")
    timed = [entry for entry in row["entries"] if entry["status"] == "timed"]
    for entry in sorted(timed, key=lambda entry: entry["median_ms"]):
        table.add_row(*_cells(entry), style="bold" if entry["family"] == "rnnjax" else None)
    return table


def _cells(entry: Mapping[str, Any]) -> Iterable[str]:
    yield entry["label"]
    yield milliseconds(entry["median_ms"])
    yield milliseconds(entry["min_ms"])
    yield f"{milliseconds(entry['q1_ms'])}-{milliseconds(entry['q3_ms'])}"
    yield str(entry["rounds"])
    yield f"{entry['floors']:.1f}"
    yield f"{entry['error']:.0e}"
    for rival in RIVALS:
        yield times(entry.get("speedups", {}).get(rival))


def untimed(row: Mapping[str, Any]) -> list[str]:
    """A line for each program that was not timed."""
    return [
        f"{entry['label']}: {entry['status']}: {entry['reason']}"
        for entry in row["entries"]
        if entry["status"] != "timed"
    ]


def means_table(means: Iterable[Mapping[str, Any]]) -> Table:
    """Geometric means of the speed-ups."""
    table = Table(title="Speed-ups, geometric means", title_justify="left", box=None)
    for heading in ("cell", "pass", "rnnjax"):
        table.add_column(heading)
    for heading in (*RIVAL_LABELS.values(), "rows"):
        table.add_column(heading, justify="right")
    for mean in means:
        ratios = (times(mean[rival]) for rival in RIVALS)
        table.add_row(mean["cell"], mean["pass"], mean["name"], *ratios, str(mean["rows"]))
    return table


def milliseconds(value: float) -> str:
    """Three significant digits: 0.123, 1.23, 12.3, 123, 1234."""
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def times(ratio: float | None) -> str:
    """A speed-up; a dash where there is none, of null in JSON as of NaN."""
    return "-" if ratio is None or ratio != ratio else f"{ratio:.2f}×"
