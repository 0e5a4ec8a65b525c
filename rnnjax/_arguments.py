"""Validators of plain arguments, without JAX: sizes, probabilities and names."""

from collections.abc import Iterable
from difflib import get_close_matches

import numpy as np


def check_positive_int(name: str, value: int) -> int:
    """`value` as an int, if it is one and at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a positive int, got {value!r} ({type(value).__name__})")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return int(value)


def check_rate(name: str, rate: float) -> float:
    """`rate`, if it is a probability in [0, 1)."""
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"{name} is a probability in [0, 1), got {rate}")
    return float(rate)


def check_choice(name: str, value: str, choices: Iterable[str]) -> str:
    """`value`, if it is one of `choices`; the error names them and the nearest."""
    choices = list(choices)
    if value in choices:
        return value
    raise ValueError(
        f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}"
        f"{nearest(value, choices)}"
    )


def nearest(value: str, choices: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest of `choices`, if one is near."""
    near = get_close_matches(str(value), list(choices), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
