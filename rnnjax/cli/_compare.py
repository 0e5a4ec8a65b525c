"""`rnnjax compare`: train, measure, print, write."""

import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rnnjax._checks import check_choice
from rnnjax._extras import missing
from rnnjax._version import __version__
from rnnjax.report import comparison_table, write_figures, write_json
from rnnjax.report._style import LOOKS
from rnnjax.tasks import digits
from rnnjax.training import (
    CONTENDERS,
    GRADIENTS,
    CellResult,
    ComparisonSettings,
    train_and_measure,
)
from rnnjax.training._interrupt import orderly_interrupt

_TABLE_WIDTH = 106  # columns of a terminal for the roomy table


def run_compare(cells: str, settings: ComparisonSettings, out: Path) -> None:
    """Run the comparison; exits with 2 on wrong options and with 130 on Ctrl-C."""
    try:
        names = [check_choice("--cells", name.strip(), CONTENDERS) for name in cells.split(",")]
        names = list(dict.fromkeys(names))
        check_choice("--gradient", settings.gradient, GRADIENTS)
        _check_extras()
        _check_writable(out)
        data = digits(settings.seed)
    except (ValueError, ImportError, OSError) as error:
        typer.secho(f"rnnjax compare: {error}", err=True, fg="red")
        raise typer.Exit(2) from None

    console = Console(width=None if sys.stdout.isatty() else 120)
    results: dict[str, CellResult] = {}
    interrupted = False
    with _progress() as bar, orderly_interrupt() as interrupted_by_user:
        task = bar.add_task("", total=settings.steps * len(names))

        def advance(steps: int) -> None:
            bar.advance(task, steps)
            if interrupted_by_user():
                raise KeyboardInterrupt

        try:
            for name in names:
                bar.update(task, description=LOOKS[name].label)
                results[name] = train_and_measure(name, data, settings, advance)
                _write_metrics(out, settings, names, results)
        except KeyboardInterrupt:
            interrupted = True
    if results:
        console.print(comparison_table(results, compact=console.width < _TABLE_WIDTH))
        write_figures(results, out)
        console.print(f"metrics.json and figures are in {out}")
    if interrupted:
        left = ", ".join(name for name in names if name not in results)
        typer.secho(f"interrupted; not finished: {left}", err=True, fg="yellow")
        raise typer.Exit(130)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:>15}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _check_extras() -> None:
    lacking = missing("cli") + missing("tasks")
    if lacking:
        raise ImportError(f"{', '.join(lacking)} missing: pip install 'rnnjax[cli,tasks]'")


def _check_writable(out: Path) -> None:
    """Make the folder and try it, so that nothing is trained in vain."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise OSError(
            f"cannot write to --out {out} ({error.strerror}): name a folder that can be written"
        ) from None


def _write_metrics(
    out: Path, settings: ComparisonSettings, names: list[str], results: dict[str, CellResult]
) -> None:
    content: dict[str, Any] = {
        "rnnjax": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in ("jax", "jaxlib", "flax", "optax", "numpy")},
        "device": str(jax.devices()[0]),
        "notation": 'null is NaN; "inf" and "-inf" are infinities',
        "data": "UCI handwritten digits, pixel by pixel",
        "settings": settings,
        "cells": names,
        "peak_learning_rates": {name: CONTENDERS[name].learning_rate for name in names},
        "initial_recurrent_weights": {name: CONTENDERS[name].start for name in names},
        "complete": len(results) == len(names),
        "results": results,
    }
    write_json(out / "metrics.json", content)
