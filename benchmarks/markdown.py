"""The tables of a page, from the JSON of `compare`."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.compare import RIVALS
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


def _where(results: Results) -> str:
    place, rate = results["environment"], results["matmul"]["rate"] / 1e9
    versions = ", ".join(f"{name} {v}" for name, v in place["versions"].items() if v)
    return (
        f"{place['date'][:10]}, {place['cpu']}, {place['cores']} cores, JAX on {place['device']}, "
        f"float32; a 2048³ matrix product reaches {rate:.0f} GFLOP/s. {versions}.\n\n"
        "Median milliseconds of interleaved rounds, the fastest in bold. Speed-ups are medians of "
        "the ratio within a round. A floor is the time that the matrix products alone would take "
        "at that rate."
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
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    lines += [list(_cells(row, list(labels), headline)) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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
    lines = [
        ["cell", "pass", "rnnjax", *(RIVAL_LABELS[rival] for rival in RIVALS), "rows"],
        ["---"] * 3 + ["---:"] * (len(RIVALS) + 1),
    ]
    for mean in results["means"]:
        ratios = [times(mean[rival]) for rival in RIVALS]
        lines.append([mean["cell"], mean["pass"], mean["name"], *ratios, str(mean["rows"])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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
