"""What the config of a run says of steps that it was given later."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from rnnjax._checks import is_int

EXTENDED = "extended"
"""The array of a config that says how far a run went at the learning rates of a shorter one."""


class Extension(NamedTuple):
    """Where a run was given more steps, with which its learning rates changed."""

    after: int  # steps, up to which the rates were those of a run of
    steps: int


def extensions(config: Mapping[str, Any]) -> list[Extension]:
    """What the content of a config.toml says of the steps that a run was given later, in order.

    Raises:
      ValueError: it says something else.
    """
    found = config.get(EXTENDED, [])
    try:
        each = [Extension(**entry) for entry in found]
    except TypeError:
        each = None
    if each is None or not all(is_int(number) for entry in each for number in entry):
        raise ValueError(
            f"{EXTENDED} must list tables of two whole numbers, after and steps, got {found!r}"
        )
    return each
