"""The tables of `compare` for a page, and what the other tables share with them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.compare import RIVALS
from benchmarks.statistics import geometric_mean
from benchmarks.tables import RIVAL_LABELS, milliseconds, times, untimed

Results = Mapping[str, Any]


def markdown(results: Results) -> str:
    """Where it was measured, a table for each cell and pass, the means, and who was not timed."""
    rows = results["rows"]
    parts = [_where(results)]
    for cell, which in dict.fromkeys((row["cell"], row["pass"]) for row in rows):
        group = [row for row in rows if (row["cell"], row["pass"]) == (cell, which)]
        parts.append(f"### {cell.upper()}, {which}\n\n" + _table(group))
    parts.append("### Geometric means of the speed-ups\n\n" + _means(results))
    parts.append("### Not timed\n\n" + _not_timed(results))
    return "\n\n".join(parts) + "\n"


def without_speedups(results: Results) -> str:
    """Where it was measured, and a table of milliseconds for each cell and pass."""
    rows = results["rows"]
    groups = dict.fromkeys((row["cell"], row["pass"]) for row in rows)
    tables = [
        f"### {cell}, {which}\n\n"
        + _table([row for row in rows if (row["cell"], row["pass"]) == (cell, which)])
        for cell, which in groups
    ]
    return "\n\n".join([place(results), *tables]) + "\n"


def _where(results: Results) -> str:
    rate = results["matmul"]["rate"] / 1e9
    return (
        f"{place(results)} A 2048³ matrix product reaches {rate:.0f} GFLOP/s.\n\n"
        "Median milliseconds of interleaved rounds, the fastest in bold. Speed-ups are medians of "
        "the ratio within a round. A floor is the time that the matrix products alone would take "
        "at that rate."
    )


def place(results: Results) -> str:
    """When and where something was measured, with which versions."""
    found = results["environment"]
    versions = ", ".join(f"{name} {v}" for name, v in found["versions"].items() if v)
    return (
        f"{found['date'][:10]}, {found['cpu']}, {found['cores']} cores, JAX on {found['device']}, "
        f"float32; {versions}."
    )


def _headline(names: list[str]) -> str | None:
    """The variant that a user gets, as far as it is there: never the best of each row."""
    ours = [name for name in ("auto", "native", "sequential bptt") if name in names]
    return ours[0] if ours else None


def _table(rows: list[Mapping[str, Any]]) -> str:
    labels = {
        e["name"]: e["label"] for row in rows for e in row["entries"] if e["status"] == "timed"
    }
    headline = _headline(list(labels))
    heads = ["T,B,I,H", *labels.values()]
    if headline:
        heads += [f"{headline} {RIVAL_LABELS[r]}" for r in RIVALS] + [f"{headline}, floors"]
    return grid(heads, [list(_cells(row, list(labels), headline)) for row in rows])


def _cells(row: Mapping[str, Any], names: list[str], headline: str | None) -> Iterator[str]:
    timed = {e["name"]: e for e in row["entries"] if e["status"] == "timed"}
    fastest = min(timed, key=lambda name: timed[name]["median_ms"], default=None)
    yield row["size"]
    for name in names:
        text = milliseconds(timed[name]["median_ms"]) if name in timed else "-"
        yield f"**{text}**" if name == fastest else text
    if headline:
        entry = timed.get(headline, {})
        for rival in RIVALS:
            yield times(entry.get("speedups", {}).get(rival))
        yield f"{entry['floors']:.1f}" if "floors" in entry else "-"


def _means(results: Results) -> str:
    heads = ["cell", "pass", "rnnjax", *(RIVAL_LABELS[r] for r in RIVALS), "at the floor", "rows"]
    lines: list[list[str]] = []
    for mean in results["means"]:
        ratios = [times(mean[rival]) for rival in RIVALS] + [times(_ceiling(results, mean))]
        lines.append([mean["cell"], mean["pass"], mean["name"], *ratios, str(mean["rows"])])
    note = (
        "*At the floor*: what the speed-up over the fastest JAX library would be if every row took "
        "exactly one floor, its matrix products and nothing else."
    )
    return f"{grid(heads, lines, left=3)}\n\n{note}"


def _ceiling(results: Results, mean: Mapping[str, Any]) -> float:
    """The geometric mean of the fastest JAX library's floors, over the rows of `mean`."""
    floors: list[float] = []
    for row in results["rows"]:
        if (row["cell"], row["pass"]) == (mean["cell"], mean["pass"]):
            timed = [e for e in row["entries"] if e["status"] == "timed" and e["family"] == "jax"]
            floors += [min(entry["floors"] for entry in timed)] if timed else []
    return geometric_mean(floors)


def grid(heads: Sequence[str], lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; the columns after the first `left` are aligned to the right."""
    rule = ["---"] * left + ["---:"] * (len(heads) - left)
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *lines))


def _not_timed(results: Results) -> str:
    """Each reason once, with the rows that it holds for."""
    where: dict[str, list[str]] = {}
    for row in results["rows"]:
        for line in untimed(row):
            where.setdefault(line, []).append(f"{row['cell']} {row['pass']} {row['size']}")
    lines = [f"- {name}: {reason}" for name, reason in results["absent"].items()]
    for line, rows in where.items():
        shown = ", ".join(rows[:3]) + (f" and {len(rows) - 3} more" if len(rows) > 3 else "")
        lines.append(f"- {line} ({shown})")
    return "\n".join(lines) or "Everyone was timed everywhere."
