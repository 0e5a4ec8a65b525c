"""The options that commands share."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from benchmarks.grid import GRIDS
from benchmarks.problem import CELLS, FORMS, PASSES, Pass, Size, parse_size

Sizes = Annotated[
    list[str] | None,
    typer.Option(
        "--size",
        "-s",
        metavar="T,B,I,H[:FORM]",
        help="Steps, batch, inputs, hidden units. May be given several times; replaces the grid. "
        f"FORM is one of {', '.join(FORMS)}.",
    ),
]
Cells = Annotated[str, typer.Option(help="Comma-separated.")]
Passes = Annotated[str, typer.Option(help="Comma-separated: forward, train.")]
Peers = Annotated[
    str, typer.Option(help="Comma-separated: nnx, linen, equinox, haiku, keras, torch; all; none.")
]
Methods = Annotated[str, typer.Option(help="rnnjax's methods, comma-separated; all.")]
Gradients = Annotated[
    str, typer.Option(help="rnnjax's gradients beside each method's own: checkpointed; none.")
]
Out = Annotated[Path, typer.Option(help="The JSON file; figures go beside it.")]
Quick = Annotated[bool, typer.Option("--quick", help="Few small sizes, to see that it works.")]

Choice = TypeVar("Choice", bound=str)


def chosen(option: str, text: str, known: Iterable[Choice]) -> list[Choice]:
    """Comma-separated names, each once, in their own order."""
    by_name: dict[str, Choice] = {name: name for name in known}
    names = dict.fromkeys(part.strip() for part in text.split(","))
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise ValueError(f"{option} takes {', '.join(by_name)}, got {', '.join(unknown)}")
    return [by_name[name] for name in names]


def lengths(option: str, text: str) -> list[int]:
    """Comma-separated positive numbers, from the smallest."""
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = [0]
    if min(found) < 1:
        raise ValueError(f"{option} takes lengths such as 100,1000, got {text!r}")
    return found


def chosen_or_all(text: str) -> list[str] | None:
    """None for "all", nothing for "none"."""
    if text == "all":
        return None
    return [] if text == "none" else [part.strip() for part in text.split(",")]


def chosen_gradients(text: str) -> list[str]:
    return [] if text == "none" else chosen("--gradients", text, ("checkpointed",))


def chosen_cells(text: str) -> list[str]:
    return chosen("--cells", text, CELLS)


def chosen_passes(text: str) -> list[Pass]:
    return chosen("--passes", text, PASSES)


def chosen_sizes(sizes: list[str] | None, grid: str) -> list[Size]:
    """The sizes that were named, or else a grid's."""
    if sizes:
        return [parse_size(text) for text in sizes]
    return [size for name in chosen("--grid", grid, GRIDS) for size in GRIDS[name]]
