"""The command line: what is measured, on which sizes, and where the results go."""

import json
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import jax
import typer

from benchmarks import options
from benchmarks.catalogue import FACTORIES, write as write_catalogue
from benchmarks.combinations import combinations
from benchmarks.compare import Task, finish, means, measure
from benchmarks.compile_time import cases, compile_table, measure_compile
from benchmarks.console import printer, progress, say_absent, usage_errors, writable
from benchmarks.contestants import contestants
from benchmarks.environment import environment, matmul_rate
from benchmarks.gpu import GRID, QUICK, gpu_contestants, prepare, timed
from benchmarks.memory import measure_memory, memory_table
from benchmarks.methods import (
    CELLS,
    SIZES,
    Point as MethodsPoint,
    left_out,
    measure_methods,
    methods_table,
)
from benchmarks.methods_plot import draw_methods
from benchmarks.ours import variants
from benchmarks.pages import page
from benchmarks.parts import measure_parts, parts_table
from benchmarks.plots import draw_compile, draw_scaling
from benchmarks.reversible import drift_table, measure_drift, settings
from benchmarks.scaling import AXES, Point, lines, measure_point, sweep
from benchmarks.tables import means_table, row_table, untimed
from benchmarks.ways import ways
from rnnjax.experiments.report import write_json

app = typer.Typer(
    help="rnnjax beside its peers, with the same weights, checked before it is timed. "
    "Leave the machine alone while it measures.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
RUNS = Path("runs/benchmarks")


@app.command()
def compare(
    size: options.Sizes = None,
    grid: Annotated[
        str, typer.Option(help="Without --size: main, extra, quick or all, comma-separated.")
    ] = "all",
    cells: options.Cells = "rnn,lstm,gru",
    passes: options.Passes = "forward,train",
    peers: options.Peers = "all",
    methods: options.Methods = "all",
    gradients: options.Gradients = "none",
    seconds: Annotated[float, typer.Option(help="Time for each row's rounds.")] = 6.0,
    quick: options.Quick = False,
    out: options.Out = RUNS / "compare.json",
) -> None:
    """Time forward passes and train steps, in turns (A B C A B C ...).

    A train step is Σ weights·ys with the gradients of params and inputs. Every answer is first
    held to float64; who is wrong is shown, not timed. Speed-ups are medians over rounds.
    """
    with usage_errors():
        sizes = options.chosen_sizes(size, "quick" if quick else grid)
        todo = product(options.chosen_cells(cells), sizes, options.chosen_passes(passes))
        tasks = [Task(*task) for task in todo]
        found, absent = contestants(
            options.chosen_or_all(methods),
            options.chosen_or_all(peers),
            options.chosen_gradients(gradients),
        )
        writable(out)
        console, rows = printer(), []
        say_absent(console, absent)
        first = matmul_rate()
        for task in progress(tasks):
            rows.append(measure(task, found, min(seconds, 1.0) if quick else seconds))
            console.print(row_table(finish(rows[-1:], first)[0]))
            for line in untimed(rows[-1]):
                console.print(f"  {line}", style="yellow", markup=False)
            console.print()
            _write_compare(out, rows, absent, {"start": first, "rate": first})
        last = matmul_rate()
        rate = {"start": first, "end": last, "rate": max(first, last)}
        results = _write_compare(out, rows, absent, rate)
        console.print(means_table(results["means"]))
        console.print(f"floors: matrix products at {rate['rate'] / 1e9:.0f} GFLOP/s; see {out}")


def _write_compare(
    out: Path, rows: list[dict[str, Any]], absent: dict[str, str], rate: dict[str, float]
) -> dict[str, Any]:
    results = {
        "matmul": rate,
        "absent": absent,
        "rows": finish(rows, rate["rate"]),
        "means": means(rows),
    }
    return _write(out, "compare", results)


def _write(out: Path, what: str, results: dict[str, Any]) -> dict[str, Any]:
    """Write results with the command that made them and where; `report` reads both."""
    whole = {"what": what, "environment": environment(), **results}
    write_json(out, whole)
    return whole


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="What any command wrote.")] = RUNS
    / "compare.json",
) -> None:
    """Print a command's results as the Markdown tables of docs/performance."""
    with usage_errors():
        typer.echo(page(json.loads(results.read_text(encoding="utf-8"))), nl=False)


@app.command()
def scaling(
    axes: Annotated[str, typer.Option(help="Comma-separated: T, B, H.")] = "T,B,H",
    cells: options.Cells = "lstm",
    passes: options.Passes = "train",
    peers: options.Peers = "nnx,torch",
    methods: options.Methods = "all",
    gradients: options.Gradients = "none",
    seconds: Annotated[float, typer.Option(help="Time for each point's rounds.")] = 2.0,
    quick: options.Quick = False,
    out: options.Out = RUNS / "scaling.json",
) -> None:
    """Fit how time and memory grow with T (to 10^5), B and H.

    Exponents are fitted over the larger half of the points. Memory is XLA's own plan: arguments,
    outputs and temporaries; PyTorch has none. A figure for each cell and pass is written as PNG.
    """
    with usage_errors():
        named = options.chosen("--axes", axes, AXES)
        pairs = product(options.chosen_cells(cells), options.chosen_passes(passes))
        todo = [
            Point(axis, cell, which, size)
            for cell, which in pairs
            for axis in named
            for size in sweep(axis, quick=quick)
        ]
        found, absent = contestants(
            options.chosen_or_all(methods),
            options.chosen_or_all(peers),
            options.chosen_gradients(gradients),
        )
        writable(out)
        console, groups = printer(), {}
        say_absent(console, absent)
        for point in progress(todo):
            points = groups.setdefault((point.cell, point.which), [])
            first = all(earlier["axis"] != point.axis for earlier in points)
            points.append(measure_point(point, found, seconds, check=first))
        labels = {contestant.name: contestant.label for contestant in found}
        sections = [_scaling_section(out, key, group, labels) for key, group in groups.items()]
        _write(out, "scaling", {"absent": absent, "sections": sections})
        for section in sections:
            for axis, name, quantity, fit in section["fits"]:
                text = f"{axis}^{fit.exponent:.2f}"
                console.print(f"{section['cell']:5} {labels[name]:26} {quantity:10} ~ {text}")
            for line in sorted({line for p in section["points"] for line in p["reasons"].items()}):
                console.print("  " + ": ".join(line), style="yellow", markup=False)
        console.print(f"figures are beside {out}")


def _scaling_section(
    out: Path, key: tuple[str, str], points: list[dict[str, Any]], labels: dict[str, str]
) -> dict[str, Any]:
    cell, which = key
    figure = out.with_name(f"{out.stem}_{cell}_{which}.png")
    draw_scaling(points, labels, f"{cell.upper()}, {which}: growth of time and memory", figure)
    fits = [
        (axis, name, quantity, line["fit"])
        for quantity in ("median_ms", "bytes")
        for axis in dict.fromkeys(point["axis"] for point in points)
        for name, line in lines(points, axis, quantity).items()
    ]
    return {"cell": cell, "pass": which, "figure": figure.name, "points": points, "fits": fits}


@app.command(name="compile")
def compile_command(
    cells: options.Cells = "lstm",
    methods: options.Methods = "all",
    quick: options.Quick = False,
    out: options.Out = RUNS / "compile.json",
) -> None:
    """Time tracing and compiling a train step, along T and along depth.

    Beside rnnjax stands a loop over the steps that Python unrolls. Every run is cold: caches are
    cleared first. Written as JSON and PNG.
    """
    with usage_errors():
        found, absent = variants(options.chosen_or_all(methods))
        todo = [
            case for cell in options.chosen_cells(cells) for case in cases(cell, found, quick=quick)
        ]
        writable(out)
        console = printer()
        say_absent(console, absent)
        rows = [measure_compile(case) for case in progress(todo)]
        _write(out, "compile", {"absent": absent, "rows": rows})
        for cell in dict.fromkeys(row["cell"] for row in rows):
            mine = [row for row in rows if row["cell"] == cell and "compile_s" in row]
            figure = out.with_name(f"{out.stem}_{cell}.png")
            draw_compile(mine, f"{cell.upper()}: before the first train step", figure)
        console.print(compile_table(rows))
        console.print(f"figures are beside {out}")


@app.command()
def memory(
    size: options.Sizes = None,
    cells: options.Cells = "rnn,lstm,gru",
    peers: options.Peers = "all",
    methods: options.Methods = "all",
    gradients: options.Gradients = "none",
    quick: options.Quick = False,
    out: options.Out = RUNS / "memory.json",
) -> None:
    """Show the memory of compiled train steps, as XLA plans it.

    Temporaries hold what the backward pass keeps of the forward pass. Nothing is run.
    """
    with usage_errors():
        sizes = options.chosen_sizes(size, "quick" if quick else "main")
        todo = product(options.chosen_cells(cells), sizes)
        found, absent = contestants(
            options.chosen_or_all(methods),
            options.chosen_or_all(peers),
            options.chosen_gradients(gradients),
        )
        writable(out)
        console, rows = printer(), []
        say_absent(console, absent)
        for task in progress([Task(cell, size, "train") for cell, size in todo]):
            rows.append(measure_memory(task, found))
            console.print(memory_table(rows[-1]))
            console.print()
            _write(out, "memory", {"absent": absent, "rows": rows})


@app.command()
def reversible(quick: options.Quick = False, out: options.Out = RUNS / "reversible.json") -> None:
    """Show how far states drift that `reversible()` reconstructs, over T.

    Relative to the largest entry: the first carry against the one that was, and the gradient of the
    params against one that reconstructs no state. In float32, without the limit of `tolerance`.
    """
    with usage_errors():
        writable(out)
        rows = [measure_drift(*setting) for setting in progress(settings(quick=quick))]
        _write(out, "reversible", {"rows": rows})
        printer().print(drift_table(rows))


@app.command()
def parts(
    size: options.Sizes = None,
    cells: options.Cells = "rnn,lstm,gru",
    seconds: Annotated[float, typer.Option(help="Time for each row's rounds.")] = 3.0,
    quick: options.Quick = False,
    out: options.Out = RUNS / "parts.json",
) -> None:
    """Take the portable train step apart: its loops and contractions, each timed by itself.

    Beside each part stands the floor of its matrix products. The parts together take longer than
    the whole, in which XLA frees what one part hands to the next.
    """
    with usage_errors():
        sizes = options.chosen_sizes(size, "quick" if quick else "main")
        todo = list(product(options.chosen_cells(cells), sizes))
        writable(out)
        rate = matmul_rate()
        tasks = [Task(cell, size, "train") for cell, size in todo]
        rows = [measure_parts(t.cell, t.size, seconds) for t in progress(tasks)]
        _write(out, "parts", {"matmul": {"rate": rate}, "rows": rows})
        printer().print(parts_table(rows, rate))


@app.command()
def methods(
    cells: Annotated[
        str, typer.Option(help=f"Comma-separated: {', '.join(CELLS)}.")
    ] = "vanilla,lstm,min_gru",
    steps: Annotated[str, typer.Option(help="Lengths T, comma-separated.")] = "100,1000,10000",
    only: Annotated[
        str, typer.Option(help="The ways whose names contain one of these, comma-separated.")
    ] = "",
    seconds: Annotated[float, typer.Option(help="Time for each row's rounds.")] = 6.0,
    quick: options.Quick = False,
    out: options.Out = RUNS / "methods.json",
) -> None:
    """Take every gradient and every method over T: time, memory, compile time and error.

    A train step is Σ weights·ys with the gradient of params, and the error its relative distance
    from `bptt()` in float64. Memory is what XLA plans beside the arguments and results.
    """
    with usage_errors():
        named = options.chosen("--cells", cells, CELLS)
        lengths = [10] if quick else options.lengths("--steps", steps)
        todo = [MethodsPoint(cell, T) for cell in named for T in lengths]
        chosen = [way for way in ways() if any(part in way.name for part in only.split(","))]
        if not chosen:
            raise ValueError(f"--only {only!r} is in none of {', '.join(w.name for w in ways())}")
        writable(out)
        console, rows = printer(), []
        for point in progress(todo):
            before = rows[-1] if rows and rows[-1]["cell"] == point.cell else None
            budget = min(seconds, 0.2) if quick else seconds
            rows.append(measure_methods(point, chosen, budget, before))
            console.print(methods_table(rows[-1]))
            for line in left_out(rows[-1]):
                console.print(f"  {line}", style="yellow", markup=False)
            console.print()
            _write(out, "methods", {"sizes": SIZES, "rows": rows})
        title = "Gradients and methods over T"
        draw_methods(rows, title, out.with_suffix(".png"))
        console.print(f"the figure is beside {out}")


@app.command(name="catalogue")
def catalogue_command(
    cells: Annotated[
        str, typer.Option(help="Whose gradient flow to measure again, comma-separated; or none.")
    ] = "all",
    out: Annotated[Path, typer.Option(help="The folder of the page.")] = Path("docs"),
) -> None:
    """Write the catalogue of cells, from docstrings and from the cells, and measure their flow."""
    with usage_errors():
        named = [] if cells == "none" else [*FACTORIES]
        if cells not in ("all", "none"):
            named = options.chosen("--cells", cells, FACTORIES)
        write_catalogue(out, named, progress)


@app.command()
def gpu(
    cells: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(GRID)}.")] = ",".join(
        GRID
    ),
    size: options.Sizes = None,
    passes: options.Passes = "forward,train",
    tf32: Annotated[bool, typer.Option("--tf32", help="Products in TF32, by everyone.")] = False,
    seconds: Annotated[float, typer.Option(help="Time for each row's rounds.")] = 0.5,
    quick: options.Quick = False,
    out: options.Out = RUNS / "gpu.json",
) -> None:
    """Time each method beside PyTorch's cuDNN and Flax on this machine's GPU.

    Everyone is built and compiled first, by threads, and held to float64, beyond T = 20,000 to
    `sequential()`. `XLA_PYTHON_CLIENT_PREALLOCATE=false` leaves memory to PyTorch.
    """
    with usage_errors():
        grid = QUICK if quick else GRID
        named = [cell for cell in options.chosen("--cells", cells, GRID) if cell in grid]
        sizes = {cell: options.chosen_sizes(size, "") if size else grid[cell] for cell in named}
        tasks = [
            Task(cell, size, which)
            for cell in named
            for size in sizes[cell]
            for which in options.chosen_passes(passes)
        ]
        writable(out)
        precision = "tensorfloat32" if tf32 else "highest"
        with jax.default_matmul_precision(precision):
            jax.config.update("jax_default_matmul_precision", precision)  # in all threads
            rate, console, rows = matmul_rate(), printer(), []
            for row in prepare(tasks, gpu_contestants(tf32), tf32):
                rows.append(timed(row, seconds))
                console.print(row_table(finish(rows[-1:], rate)[0]))
                for line in untimed(rows[-1]):
                    console.print(f"  {line}", style="yellow", markup=False)
                _write(out, "gpu", {"matmul": {"rate": rate}, "tf32": tf32, "rows": rows})


@app.command(name="combinations")
def combinations_command() -> None:
    """Print which gradient runs by which method, under which transformation, as Markdown."""
    typer.echo(combinations())
