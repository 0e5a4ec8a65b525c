"""What a run shows while it trains: a bar on a terminal, else a line for each evaluation."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rnnjax._extras import optional
from rnnjax.experiments.training._log import mean_of


class Show(Protocol):
    """Called with every entry of the log."""

    def __call__(self, entry: Mapping[str, Any], /) -> None: ...


@contextmanager
def progress(name: str, begin: int, steps: int, quiet: bool) -> Iterator[Show]:
    """Yield a function that shows an entry of the log, on standard error.

    Args:
      name: of the task.
      begin: steps taken before.
      steps: in all.
      quiet: show nothing.
    """
    if quiet:
        yield lambda entry: None
    elif sys.stderr.isatty() and _has_rich():
        yield from _bar(name, begin, steps)
    else:
        yield lambda entry: _print_evaluation(name, steps, entry)


def _has_rich() -> bool:
    try:
        optional("rich")
    except ImportError:
        return False
    return True


def _print_evaluation(name: str, steps: int, entry: Mapping[str, Any]) -> None:
    if "evaluation" in entry:
        print(f"{name} {entry['step']}/{steps}  {_summary(entry)}", file=sys.stderr, flush=True)


def _summary(entry: Mapping[str, Any]) -> str:
    figures = {"cost": entry["cost"], **entry.get("evaluation", {})}
    return "  ".join(f"{name} {mean_of(value):.4g}" for name, value in figures.items())


def _bar(name: str, begin: int, steps: int) -> Iterator[Show]:
    rich = optional("rich.progress")
    console = optional("rich.console").Console(stderr=True)
    wrapping = optional("rich.table").Column(no_wrap=False)
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[rate]}"),
        rich.TimeRemainingColumn(),
        # Where a terminal is narrow, this one wraps before the others are cut.
        rich.TextColumn("{task.fields[figures]}", table_column=wrapping),
    )
    with rich.Progress(*columns, console=console) as bar:
        task = bar.add_task(name, total=steps, completed=begin, rate="", figures="compiling")
        evaluation: dict[str, Any] = {}

        def show(entry: Mapping[str, Any]) -> None:
            evaluation.update(entry.get("evaluation", {}))
            figures = _summary({**entry, "evaluation": evaluation})
            bar.update(task, completed=entry["step"], rate=_rate(entry), figures=figures)

        yield show


def _rate(entry: Mapping[str, Any]) -> str:
    return f"{entry['steps_per_second']:.3g} steps/s"
