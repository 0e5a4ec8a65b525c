"""The cells that a task can be asked for by name."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from rnnjax._checks import check_choice, check_positive_int
from rnnjax._types import Cell
from rnnjax.cells import gru, identity_rnn, initializers, irnn, lstm, lstm_1997, vanilla
from rnnjax.combinators import stack

CellFactory = Callable[[int], Cell]  # hidden -> cell


def _common_vanilla(hidden: int) -> Cell:
    """The tanh net as it is most often met: PyTorch's initialisation."""
    return vanilla(hidden, w_h_init=initializers.uniform())


CELLS: dict[str, CellFactory] = {
    "vanilla": _common_vanilla,
    "irnn": irnn,
    "identity": identity_rnn,
    "lstm_1997": lstm_1997,
    "lstm": lstm,
    "gru": gru,
}

if TYPE_CHECKING:
    CellOption = str | CellFactory
else:  # what the command line makes its flag from: there a cell has a name
    CellOption = Annotated[str, "Recurrent cell: vanilla, irnn, identity, lstm_1997, lstm or gru."]


def make_cell(cell: str | CellFactory, hidden: int, layers: int = 1) -> Cell:
    """The cell of a task: `layers` of one kind, stacked if there is more than one.

    Args:
      cell: a key of `CELLS`, or a function hidden -> `Cell`.
      hidden: H, the number of hidden units of every layer.
      layers: how many.

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
