"""Any command's JSON as the Markdown of a page."""

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import grid, markdown, place, without_speedups
from benchmarks.methods import left_out, shown
from benchmarks.reversible import HEADINGS, cells_of
from benchmarks.tables import milliseconds

Results = Mapping[str, Any]
_MIB = 2**20


def page(results: Results) -> str:
    """The tables of what a command of this package wrote.

    Raises:
      ValueError: it does not say which command wrote it.
    """
    pages = {
        "compare": markdown,
        "scaling": _scaling,
        "compile": _compile,
        "gpu": without_speedups,
        "memory": _memory,
        "methods": _methods,
        "parts": _parts,
        "reversible": _reversible,
    }
    what = results.get("what")
    if what not in pages:
        raise ValueError(f"the results are of none of {', '.join(pages)}: what is {what!r}")
    return pages[what](results)


def _memory(results: Results) -> str:
    labels = {
        entry["name"]: entry["label"]
        for row in results["rows"]
        for entry in row["entries"]
        if "total" in entry
    }
    lines: list[list[str]] = []
    for row in results["rows"]:
        found = {entry["name"]: entry for entry in row["entries"] if "total" in entry}
        shown = (f"{found[n]['temporaries'] / _MIB:.1f}" if n in found else "-" for n in labels)
        lines.append([row["cell"], row["size"], *shown])
    heads = ["cell", "T,B,I,H", *labels.values()]
    return f"{place(results)} MiB of temporaries.\n\n{grid(heads, lines, left=2)}\n"


def _reversible(results: Results) -> str:
    lines = [list(cells_of(row)) for row in results["rows"]]
    return f"{place(results)} Relative errors.\n\n{grid(list(HEADINGS), lines, left=0)}\n"


def _compile(results: Results) -> str:
    rows = [row for row in results["rows"] if "compile_s" in row]
    names = list(dict.fromkeys(row["name"] for row in rows))
    found = {(row["cell"], row["axis"], row["value"], row["name"]): row for row in rows}
    lines: list[list[str]] = []
    for cell, axis, value in dict.fromkeys(key[:3] for key in found):
        entries = [found.get((cell, axis, value, name)) for name in names]
        shown = (
            "-" if e is None else f"{e['trace_s']:.2f} + {e['compile_s']:.2f}" for e in entries
        )
        lines.append([cell, f"{axis} = {value}", *shown])
    heads = ["cell", "", *names]
    return f"{place(results)} Seconds to trace + to compile.\n\n{grid(heads, lines, left=2)}\n"


def _scaling(results: Results) -> str:
    fits = [
        (section["cell"], section["pass"], *fit)
        for section in results["sections"]
        for fit in section["fits"]
    ]
    names = list(dict.fromkeys(name for _, _, _, name, _, _ in fits))
    found = {(c, p, axis, quantity, name): fit for c, p, axis, name, quantity, fit in fits}
    lines: list[list[str]] = []
    for key in dict.fromkeys(key[:4] for key in found):
        exponents = (found.get((*key, name), {}).get("exponent") for name in names)
        quantity = "memory" if key[3] == "bytes" else "time"
        shown = ("-" if e is None else f"{e:.2f}" for e in exponents)
        lines.append([key[0], key[1], f"{quantity} in {key[2]}", *shown])
    heads = ["cell", "pass", "exponent of", *names]
    return f"{place(results)}\n\n{grid(heads, lines, left=3)}\n"


def _parts(results: Results) -> str:
    names = list(results["rows"][0]["parts"])
    rate = results["matmul"]["rate"]
    lines: list[list[str]] = []
    for row in results["rows"]:
        parts = (row["parts"][name] for name in names)
        shown = (
            f"{milliseconds(p['median_ms'])} ({milliseconds(p['flops'] / rate * 1e3)})"
            for p in parts
        )
        lines.append([row["cell"], row["size"], *shown])
    heads = ["cell", "T,B,I,H", *names]
    return f"{place(results)} Milliseconds (floor).\n\n{grid(heads, lines, left=2)}\n"


def _methods(results: Results) -> str:
    """For each cell, a line for each way with what it takes at each T."""
    sizes = results["sizes"]
    parts = [
        f"{place(results)} B = {sizes['B']}, {sizes['D']} inputs, H = {sizes['H']}.",
    ]
    for cell in dict.fromkeys(row["cell"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["cell"] == cell]
        parts.append(f"### {cell}\n\n{_methods_of(rows)}")
        where: dict[str, list[str]] = {}
        for row in rows:
            for line in left_out(row):
                where.setdefault(line, []).append(str(row["T"]))
        lines = (f"- {line} (T = {', '.join(lengths)})" for line, lengths in where.items())
        parts += ["\n".join(lines)] if where else []
    return "\n\n".join(parts) + "\n"


def _methods_of(rows: list[dict[str, Any]]) -> str:
    found: dict[str, dict[int, tuple[str, ...]]] = {}
    for row in rows:
        for entry in row["entries"]:
            if entry["status"] == "timed":
                found.setdefault(entry["name"], {})[row["T"]] = shown(entry)
    lengths = [row["T"] for row in rows]
    lines: list[list[str]] = []
    for name, by_length in found.items():
        columns = [[by_length.get(T, "----")[k] for T in lengths] for k in (0, 1, 3)]
        compiled = by_length[max(by_length)][2]
        lines.append([f"`{name}`", *columns[0], *columns[1], compiled, *columns[2]])
    heads = [""]
    heads += [f"ms, T = {T}" for T in lengths] + [f"MiB, T = {T}" for T in lengths]
    heads += ["compile, s"] + [f"error, T = {T}" for T in lengths]
    return grid(heads, lines)
