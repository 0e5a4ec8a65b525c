"""What every command shows while it runs, and how it ends."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")


def printer() -> Console:
    """Standard output, as wide as the terminal, or wide enough for every table in a file."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


def progress(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items under a bar that names them; silent where standard error is no terminal."""
    todo = list(items)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=len(todo))
        for item in todo:
            bar.update(task, description=str(item))
            yield item
            bar.advance(task)


def say_absent(console: Console, reasons: Mapping[str, str]) -> None:
    """Name everyone who does not take part."""
    for name, reason in reasons.items():
        console.print(f"{name} does not take part: {reason}", style="yellow", markup=False)


@contextmanager
def usage_errors() -> Iterator[None]:
    """Wrong options end with 2 and one line; Ctrl-C with 130, and what was finished stays."""
    try:
        yield
    except (ValueError, OSError) as error:
        typer.secho(f"benchmarks: {error}", err=True, fg="red")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.secho("interrupted: finished rows are kept", err=True, fg="yellow")
        raise typer.Exit(130) from None


def writable(out: Path) -> Path:
    """Make the file's folder, so that nothing is measured in vain."""
    out.parent.mkdir(parents=True, exist_ok=True)
    return out
