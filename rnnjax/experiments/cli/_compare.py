"""`rnnjax compare`: train, measure, print, write."""

import platform
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from rnnjax._checks import check_choice
from rnnjax._extras import missing
from rnnjax._version import __version__
from rnnjax.experiments.cli._errors import FAILED, INTERRUPTED, complain, errors_of, said
from rnnjax.experiments.cli._plan import Plan, full_options, read_plan
from rnnjax.experiments.data import digits
from rnnjax.experiments.report import comparison_table, write_figures, write_json
from rnnjax.experiments.report._style import LOOKS
from rnnjax.experiments.tasks import TASKS, Task
from rnnjax.experiments.training import (
    CONTENDERS,
    GRADIENTS,
    CellResult,
    ComparisonSettings,
    NoRecurrenceError,
    Progress,
    comparable_task,
    peak_rate,
    train_and_measure,
    train_and_measure_on,
)
from rnnjax.experiments.training._interrupt import orderly_interrupt
from rnnjax.experiments.training._task_comparison import PLAIN

_TABLE_WIDTH = 106  # columns of a terminal for the roomy table


class Subject(NamedTuple):
    """What the cells are compared on."""

    name: str
    data: str  # in words
    measure: Callable[[str, Progress], CellResult]  # (cell, progress) -> its result
    peak_rate: Callable[[str], float]  # the learning rate of a cell


class Outcome(NamedTuple):
    """How far a comparison came."""

    results: dict[str, CellResult]
    diverged: dict[str, str]  # cell -> what was not finite, and when
    interrupted: bool


def run_compare(
    cells: str, settings: ComparisonSettings, out: Path, task: str, config: Path | None
) -> None:
    """Run the comparison; exits with 2 on wrong use, 1 if a cell diverged, 130 on Ctrl-C."""
    with errors_of("compare"):
        names = [check_choice("--cells", name.strip(), CONTENDERS) for name in cells.split(",")]
        names = list(dict.fromkeys(names))
        check_choice("--gradient", settings.gradient, GRADIENTS)
        _check_extras()
        subject = _subject(task, config, settings, names[0])
        _check_writable(out)
        outcome = _measured(names, subject, settings, out)
        _show(outcome.results, out)
    for name, why in outcome.diverged.items():
        complain("compare", f"{LOOKS[name].label}: diverged: {why}")
    if outcome.interrupted:
        left = [n for n in names if n not in outcome.results and n not in outcome.diverged]
        typer.secho(f"interrupted; not finished: {', '.join(left)}", err=True, fg="yellow")
        raise typer.Exit(INTERRUPTED)
    if outcome.diverged:
        raise typer.Exit(FAILED)


def _measured(
    names: list[str], subject: Subject, settings: ComparisonSettings, out: Path
) -> Outcome:
    """Train cell after cell, write as each is finished, and go on where one diverges."""
    outcome = Outcome({}, {}, False)
    with _progress() as bar, orderly_interrupt() as interrupted_by_user:
        shown = bar.add_task("", total=settings.steps * len(names))

        def advance(steps: int) -> None:
            bar.advance(shown, steps)
            if interrupted_by_user():
                raise KeyboardInterrupt

        try:
            for number, name in enumerate(names):
                bar.update(shown, description=LOOKS[name].label, completed=settings.steps * number)
                try:
                    outcome.results[name] = subject.measure(name, advance)
                except FloatingPointError as error:
                    # What was not finite; the settings that the rest advises are not of compare.
                    outcome.diverged[name] = str(error).split(". ")[0]
                _write_metrics(out, subject, settings, names, outcome)
        except KeyboardInterrupt:
            outcome = outcome._replace(interrupted=True)
    return outcome


def _show(results: dict[str, CellResult], out: Path) -> None:
    """The table, and the figures, of the cells that are there."""
    if not results:
        return
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(comparison_table(results, compact=console.width < _TABLE_WIDTH))
    write_figures(results, out)
    console.print(f"metrics.json and figures are in {out}")


def _subject(task: str, config: Path | None, settings: ComparisonSettings, first: str) -> Subject:
    """The digits as ever, or any other task."""
    if task == "digits" and config is None:
        data = digits(settings.seed)
        return Subject(
            task,
            "UCI handwritten digits, pixel by pixel",
            lambda name, progress: train_and_measure(name, data, settings, progress),
            lambda name: CONTENDERS[name].learning_rate,
        )
    if settings.gradient != "bptt":
        raise ValueError("--gradient is for the digits alone: leave it out")
    options = _options(check_choice("--task", task, TASKS), config)
    first_made = _first_made(task, first, settings.hidden, options, config)

    def measure(name: str, progress: Progress) -> CellResult:
        made = comparable_task(task, name, settings.hidden, options)
        return train_and_measure_on(name, made, settings, progress)

    summary = TASKS[task].summary
    return Subject(task, summary, measure, lambda name: peak_rate(name, first_made))


def _options(task: str, config: Path | None) -> dict[str, Any]:
    """The options that all cells have in common; ValueError if a file speaks of others."""
    plan = Plan(task, {}, {}) if config is None else read_plan(config)
    if plan.task != task:
        raise ValueError(f"{config} is of the task {plan.task!r}: say --task {plan.task}")
    if plan.settings:
        raise ValueError(
            f"{config}: compare takes no [settings], got {', '.join(plan.settings)}: leave the "
            "table out, and give --steps, --seeds and --seed"
        )
    for name, what in _OWN.items():
        if plan.options.get(name, what.value) != what.value:
            raise ValueError(
                f"{config}, [options]: compare takes no {name}, got {plan.options[name]!r}: "
                f"leave it out; {what.instead}"
            )
    return {name: value for name, value in full_options(plan).items() if name not in _OWN}


class _Own(NamedTuple):
    """What compare decides itself."""

    value: Any  # the one that it takes
    instead: str


_OWN = {
    "cell": _Own(None, "the cells are those of --cells"),
    "hidden": _Own(None, "their size is that of --hidden"),
    **{
        name: _Own(value, "it compares one layer that reads forwards")
        for name, value in PLAIN.items()
    },
}


def _first_made(
    task: str, cell: str, hidden: int, options: dict[str, Any], config: Path | None
) -> Task:
    """The task with the first cell: what is wrong with its options shows before training."""
    try:
        return comparable_task(task, cell, hidden, options)
    except NoRecurrenceError:
        raise
    except (ValueError, OSError) as error:
        if config is not None:
            raise
        raise ValueError(
            f"{said(error)}. Options such as its data come by --config FILE, TOML with a line "
            f'task = "{task}" and a table [options]'
        ) from None


def _progress() -> Bar:
    console = Console(stderr=True)
    return Bar(
        TextColumn("{task.description:>15}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
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
    out: Path,
    subject: Subject,
    settings: ComparisonSettings,
    names: list[str],
    outcome: Outcome,
) -> None:
    content: dict[str, Any] = {
        "rnnjax": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in ("jax", "jaxlib", "flax", "optax", "numpy")},
        "device": str(jax.devices()[0]),
        "notation": 'null is NaN; "inf" and "-inf" are infinities',
        "task": subject.name,
        "data": subject.data,
        "settings": settings,
        "cells": names,
        "peak_learning_rates": {name: subject.peak_rate(name) for name in names},
        "initial_recurrent_weights": {name: CONTENDERS[name].start for name in names},
        "complete": len(outcome.results) == len(names),
        "diverged": outcome.diverged,
        "results": {name: _named(result) for name, result in outcome.results.items()},
    }
    write_json(out / "metrics.json", content)


def _named(result: CellResult) -> dict[str, Any]:
    """The result with its scores under the name of the metric, such as accuracy."""
    content = result._asdict()
    return {result.metric.name: content.pop("scores"), **content}
