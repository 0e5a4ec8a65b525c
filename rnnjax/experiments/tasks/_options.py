"""Options that tasks share: cells by name, layers, sizes, each with its help text."""

import math
from collections.abc import Callable
from inspect import signature
from typing import TYPE_CHECKING, Annotated

from rnnjax._arguments import checked_arguments
from rnnjax._checks import check_choice, check_number, check_positive_int, check_rate
from rnnjax._names import option
from rnnjax._types import Cell
from rnnjax.cells import FACTORIES, initializers, vanilla
from rnnjax.combinators import stack
from rnnjax.unrolling import Layer, bidirectional as both_directions, serial

CellFactory = Callable[[int], Cell]  # hidden -> cell


def _common_vanilla(hidden: int) -> Cell:
    """The tanh network with PyTorch's initialisation, the most common one."""
    return vanilla(hidden, w_h_init=initializers.uniform())


def _sequence_cells() -> dict[str, CellFactory]:
    """The cells of the registry that a size alone makes and that read vectors."""
    cells: dict[str, CellFactory] = {}
    for name, make in FACTORIES.items():
        required = [p for p in signature(make).parameters.values() if p.default is p.empty]
        if len(required) == 1 and make(1).structure.feature_axes == 1:
            cells[name] = make
    return cells | {"vanilla": _common_vanilla}


CELLS: dict[str, CellFactory] = _sequence_cells()
"""The cells that a task may name: those that read vectors and need nothing but their size."""

if TYPE_CHECKING:
    CellOption = str | CellFactory
else:  # on the command line a cell is given by its name
    CellOption = Annotated[str, f"Recurrent cell: {', '.join(CELLS)}."]
    """A key of `CELLS`, or from Python any function hidden -> `Cell`."""

Hidden = Annotated[int, "Hidden units per layer."]
Layers = Annotated[int, "Number of stacked recurrent layers."]
BatchSize = Annotated[int, "Sequences per training batch."]
TestSize = Annotated[int, "Number of test sequences."]
ClipInLoop = Annotated[
    float | None,
    "Clip the error in the backward loop to this limit; off by default.",
]
Context = Annotated[int, "Steps of context before a forecast."]
Horizon = Annotated[int, "Steps to forecast."]
Noise = Annotated[float, "Standard deviation of the noise added to the inputs in training."]


@checked_arguments
def make_cell(cell: str | CellFactory, hidden: int, layers: int = 1) -> Cell:
    """Make the cell of a task: `layers` of one kind, stacked if there are several.

    Args:
      cell: a key of `CELLS`, or a function hidden -> `Cell`.
      hidden: H, units per layer.
      layers: number of stacked layers.

    Raises:
      ValueError: an unknown name; hidden or layers below 1.
      TypeError: cell is neither a name nor a function that returns a `Cell`.

    Example:
      >>> from rnnjax.experiments.tasks import make_cell
      >>> len(make_cell("lstm", 8, layers=2).structure.layers)
      2
    """
    check_positive_int("hidden", hidden)
    check_positive_int("layers", layers)
    if isinstance(cell, str):
        factory = CELLS[check_choice("cell", cell, CELLS)]
    elif callable(cell):
        factory = cell
    else:
        raise TypeError(
            f"cell must be a name ({', '.join(CELLS)}) or a function hidden -> Cell such as "
            f"rnnjax.lstm, got {type(cell).__name__}"
        )
    made = [factory(hidden) for _ in range(layers)]
    if not all(isinstance(one, Cell) for one in made):
        raise TypeError(f"cell must return a Cell for hidden = {hidden}, got {made[0]!r}")
    return made[0] if layers == 1 else stack(*made)


def make_layer(
    cell: str | CellFactory, hidden: int, layers: int = 1, *, bidirectional: bool = False
) -> Layer | Cell:
    """Make the recurrent part of a task that reads whole sequences: a cell or bidirectional layers.

    Args:
      cell, hidden, layers: as in `make_cell`; hidden is per direction.
      bidirectional: whether each layer also reads its inputs backwards in time.

    Returns:
      `make_cell(cell, hidden, layers)`, or `layers` bidirectional layers in series.
    """
    if not bidirectional:
        return make_cell(cell, hidden, layers)
    check_positive_int("layers", layers)
    return serial(
        *(both_directions(make_cell(cell, hidden), make_cell(cell, hidden)) for _ in range(layers))
    )


def check_at_least(name: str, value: int, least: int, why: str = "") -> int:
    """`value`, if it is an int of at least `least`; `why` ends the error."""
    if check_positive_int(name, value) < least:
        raise ValueError(f"{option(name)} must be at least {least}, got {value}{why}")
    return value


def check_spread(name: str, value: float) -> float:
    """`value`, if it is a standard deviation: at least 0 and finite."""
    if not 0 <= check_number(name, value) < math.inf:
        raise ValueError(f"{option(name)} is a standard deviation, at least 0, got {value}")
    return value


def check_positive_ints(**sizes: int) -> None:
    """Raise unless all of these options are ints of at least 1."""
    for name, size in sizes.items():
        check_positive_int(name, size)


def check_rates(**rates: float) -> None:
    """Raise unless all of these options are probabilities in [0, 1)."""
    for name, rate in rates.items():
        check_rate(name, rate)
