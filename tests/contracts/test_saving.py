"""Every cell of the table prints as what makes it again, unless it is made of a user's function."""

import pytest
from cells_table import ROWS

from rnnjax.saving._rebuilding import rebuilt


def test_every_row_comes_back_from_its_text():
    own = {name for name, row in ROWS.items() if row.cell.structure.call is None}
    own |= {name for name in ROWS if "own" in name} | {"wrapped"}
    for name, row in ROWS.items():
        if name in own:
            with pytest.raises(ValueError, match="call"):
                rebuilt(str(row.cell))
        else:
            assert rebuilt(str(row.cell)) is row.cell, name
