"""`rnnjax compare`: train cells on one task, print the table, write metrics and figures."""

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
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress as Bar,
    TextColumn,
    TimeRemainingColumn,
)

from rnnjax._checks import check_choice
from rnnjax._extras import missing
from rnnjax._version import __version__
from rnnjax.experiments.cli._output import FAILED, complain, errors_of, message_of
from rnnjax.experiments.cli._plan import Plan, full_options, read_plan
from rnnjax.experiments.cli._printing import say
from rnnjax.experiments.report import LOOKS, comparison_table, write_figures, write_json
from rnnjax.experiments.tasks import TASKS, Recipe, Task
from rnnjax.experiments.training import (
    CONTENDERS,
    GRADIENTS,
    SINGLE_LAYER,
    CellResult,
    ComparisonSettings,
    NoRecurrenceError,
    Settings,
    cached_batches,
    check_memory,
    comparison_task,
    deferred_interrupt,
    peak_learning_rate,
    resolve,
    train_and_measure,
)

_TABLE_WIDTH = 106  # columns of a terminal that the full table needs


class Subject(NamedTuple):
    """The task that the cells are compared on."""

    name: str
    options: dict[str, Any]  # of the task's factory, shared by all cells
    make: Callable[[str], Task]  # cell -> the task with that cell
    recipe: Recipe


class Outcome(NamedTuple):
    """The results so far."""

    results: dict[str, CellResult]
    diverged: dict[str, str]  # cell -> what was not finite, and when
    interrupted: int  # the number of the signal that ended it, or 0


def run_compare(
    cells: str, settings: ComparisonSettings, out: Path, task: str, config: Path | None
) -> None:
    """Run the comparison.

    Exits with 2 on wrong use, 1 if a cell diverged, 130 on Ctrl-C and 143 on SIGTERM.
    """
    with errors_of("compare"):
        names = [check_choice("--cells", name.strip(), CONTENDERS) for name in cells.split(",")]
        names = list(dict.fromkeys(names))
        check_choice("--gradient", settings.gradient, GRADIENTS)
        _check_extras()
        subject = _subject(task, config, settings, names[0])
        _check_writable(out)
        outcome = _train_all(names, subject, settings, out)
        _show(outcome.results, out)
    for name, why in outcome.diverged.items():
        complain("compare", f"{LOOKS[name].label}: diverged: {why}")
    if outcome.interrupted:
        left = [n for n in names if n not in outcome.results and n not in outcome.diverged]
        say(f"interrupted; not finished: {', '.join(left)}", err=True, color="yellow")
        raise typer.Exit(128 + outcome.interrupted)
    if outcome.diverged:
        raise typer.Exit(FAILED)


def _train_all(
    names: list[str], subject: Subject, settings: ComparisonSettings, out: Path
) -> Outcome:
    """Train one cell after another; write after each, and continue if one diverges."""
    outcome = Outcome({}, {}, 0)
    with _progress() as bar, deferred_interrupt() as interrupted:
        shown = bar.add_task("", total=settings.steps * len(names))

        def advance(steps: int) -> None:
            bar.advance(shown, steps)
            if interrupted():
                raise KeyboardInterrupt

        try:
            for number, name in enumerate(names):
                bar.update(shown, description=LOOKS[name].label, completed=settings.steps * number)
                try:
                    result = train_and_measure(name, subject.make(name), settings, advance)
                    outcome.results[name] = result
                except FloatingPointError as error:
                    # The first sentence; the rest advises settings that compare does not have.
                    outcome.diverged[name] = str(error).split(". ")[0]
                _write_metrics(out, subject, settings, names, outcome)
        except KeyboardInterrupt:
            outcome = outcome._replace(interrupted=interrupted())
    return outcome


def _show(results: dict[str, CellResult], out: Path) -> None:
    """Print the table and write the figures of the finished cells."""
    if not results:
        return
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(comparison_table(results, compact=console.width < _TABLE_WIDTH))
    write_figures(results, out)
    say(f"metrics.json and figures are in {out}")


def _subject(task: str, config: Path | None, settings: ComparisonSettings, first: str) -> Subject:
    """Make the task with the first cell, so that wrong options fail before any training."""
    options = _options(check_choice("--task", task, TASKS), config)
    first_task = _first_task(task, first, settings, options, config)
    trained = Settings(seeds=settings.seeds, seed=settings.seed)
    chosen = {"hidden": settings.hidden, "seeds": settings.seeds}
    check_memory(first_task, resolve(trained, first_task.recipe), chosen)
    batches = cached_batches(first_task.batches)  # the same for every cell

    def make(cell: str) -> Task:
        made = first_task
        if cell != first:
            made = comparison_task(task, cell, settings.hidden, options, settings.gradient)
        return made._replace(batches=batches)

    return Subject(task, options, make, first_task.recipe)


def _options(task: str, config: Path | None) -> dict[str, Any]:
    """The task options shared by all cells; ValueError if the file sets any that compare fixes."""
    plan = Plan(task, {}, {}) if config is None else read_plan(config)
    if plan.task != task:
        raise ValueError(f"{config} is of the task {plan.task!r}: pass --task {plan.task}")
    if plan.settings:
        raise ValueError(
            f"{config}: compare takes no [settings], got {', '.join(plan.settings)}: leave the "
            "table out, and use --steps, --seeds and --seed"
        )
    for name, fixed in _FIXED.items():
        if plan.options.get(name, fixed.value) != fixed.value:
            raise ValueError(
                f"{config}, [options]: compare takes no {name}, got {plan.options[name]!r}: "
                f"leave it out; {fixed.instead}"
            )
    return {name: value for name, value in full_options(plan).items() if name not in _FIXED}


class _Fixed(NamedTuple):
    """A task option that compare sets itself."""

    value: Any  # the only one accepted
    instead: str  # what to use or know instead


_FIXED = {
    "cell": _Fixed(None, "use --cells"),
    "hidden": _Fixed(None, "use --hidden"),
    **{
        name: _Fixed(value, "it compares one unidirectional layer")
        for name, value in SINGLE_LAYER.items()
    },
}


def _first_task(
    task: str,
    cell: str,
    settings: ComparisonSettings,
    options: dict[str, Any],
    config: Path | None,
) -> Task:
    try:
        return comparison_task(task, cell, settings.hidden, options, settings.gradient)
    except NoRecurrenceError:
        raise
    except (ValueError, OSError) as error:
        if config is not None:
            raise
        raise ValueError(
            f"{message_of(error)}. Pass options such as the data with --config FILE, a TOML file "
            f'with a line task = "{task}" and a table [options]'
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
    """Create the folder and a temporary file in it, so that it fails before training."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise OSError(
            f"cannot write to --out {out} ({error.strerror}): choose a writable folder"
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
        "data": TASKS[subject.name].summary,
        "options": {name: _jsonable(value) for name, value in subject.options.items()},
        "settings": settings,
        "cells": names,
        "peak_learning_rates": {name: peak_learning_rate(name, subject.recipe) for name in names},
        "initial_recurrent_weights": {name: CONTENDERS[name].initial_weights for name in names},
        "complete": len(outcome.results) == len(names),
        "diverged": outcome.diverged,
        "results": {name: _named(result) for name, result in outcome.results.items()},
    }
    write_figures({}, out)  # those of an earlier comparison go
    write_json(out / "metrics.json", content)


def _jsonable(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _named(result: CellResult) -> dict[str, Any]:
    """The result with its scores under the name of the metric, such as accuracy."""
    content = result._asdict()
    return {result.metric.name: content.pop("scores"), **content}
