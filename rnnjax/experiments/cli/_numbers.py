"""Numbers on the command line, with errors that show what was given."""

from collections.abc import Callable
from typing import Any

import typer

LARGEST_SEED = 2**32 - 1  # JAX would take a larger one modulo 2^32


def whole(least: int | None = None, most: int | None = None) -> Callable[[Any], int]:
    """A parser of whole numbers in a range."""
    ends = "" if least is None else f" of at least {least}"
    ends += "" if most is None else f" and at most {most}"

    def whole_number(text: Any) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        in_range = value is not None and (least is None or value >= least)
        if value is None or not in_range or (most is not None and value > most):
            raise typer.BadParameter(f"expected a whole number{ends}, got {text!r}")
        return value

    return whole_number


def real(text: Any) -> float:
    """A parser of numbers; NaN and infinities are left to what uses them."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"expected a number such as 0.001, got {text!r}") from None
