"""The terminal during a run: a progress bar or lines of text, and a deferred Ctrl-C."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from rnnjax._extras import optional
from rnnjax.experiments.training._log import logged_mean


class Show(Protocol):
    """Called with every log entry."""

    def __call__(self, entry: Mapping[str, Any], /) -> None: ...


@contextmanager
def progress(name: str, metric: str, begin: int, steps: int, quiet: bool) -> Iterator[Show]:
    """Yield a function that shows a log entry on standard error.

    On a terminal it is a progress bar, elsewhere a line for each evaluation.

    Args:
      name: of the task.
      metric: the name of the metric that a progress bar shows.
      begin: steps already taken.
      steps: in all.
      quiet: show nothing.
    """
    if quiet:
        yield lambda entry: None
    elif sys.stderr.isatty() and _has_rich():
        yield from _bar(name, metric, begin, steps)
    else:
        yield lambda entry: _print_evaluation(name, steps, entry)


def announce(line: str, quiet: bool) -> None:
    """Show a line on standard error, unless quiet."""
    if not quiet:
        print(line, file=sys.stderr, flush=True)


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
    values = {"cost": entry["cost"], **entry.get("evaluation", {})}
    if np.any(entry.get("skipped", 0)):
        values["skipped"] = entry["skipped"]
    measured = entry.get("callbacks", {}).items()
    exponents = [logged_mean(value) for name, value in measured if name.endswith("lyapunov")]
    if exponents:  # of flow_callback, one a layer
        values["λ₁"] = max(exponents)
    return "  ".join(f"{name} {logged_mean(value):.4g}" for name, value in values.items())


def _bar(name: str, metric: str, begin: int, steps: int) -> Iterator[Show]:
    rich = optional("rich.progress")
    console = optional("rich.console").Console(stderr=True)
    wrapping = optional("rich.table").Column(no_wrap=False)
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[rate]}"),
        rich.TimeRemainingColumn(),
        # On a narrow terminal this column wraps before the others are truncated.
        rich.TextColumn("{task.fields[summary]}", table_column=wrapping),
    )
    with rich.Progress(*columns, console=console) as bar:
        task = bar.add_task(name, total=steps, completed=begin, rate="", summary="compiling")
        evaluation: dict[str, Any] = {}
        measured: dict[str, Any] = {}

        def show(entry: Mapping[str, Any]) -> None:
            found = entry.get("evaluation", {})
            evaluation.update({metric: found[metric]} if metric in found else {})
            measured.update(entry.get("callbacks", {}))
            summary = _summary({**entry, "evaluation": evaluation, "callbacks": measured})
            bar.update(task, completed=entry["step"], rate=_rate(entry), summary=summary)

        yield show


def _rate(entry: Mapping[str, Any]) -> str:
    return f"{entry['steps_per_second']:.3g} steps/s"


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], int]]:
    """Defer Ctrl-C and SIGTERM to the end of the current steps; a second one ends the program.

    Yields a function that returns the number of the signal that was received, or 0, to be called
    between steps. No KeyboardInterrupt is raised, since one that is raised during JAX's garbage
    collection is lost. Python sees no signal while XLA compiles: two that come then count as one,
    which ends the run after its first steps. Signals that the program ignores stay ignored. Outside
    the main thread, which alone receives signals, the function always returns 0.
    """
    received = 0

    def on_signal(number: int, _: object) -> None:
        nonlocal received
        received = received or number
        signal.signal(number, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    previous = {number: on for number, on in previous.items() if on != signal.SIG_IGN}
    for number in previous:
        signal.signal(number, on_signal)
    try:
        yield lambda: received
    finally:
        for number, on in previous.items():
            signal.signal(number, on)
