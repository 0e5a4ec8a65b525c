"""The order of names with numbers in them."""

import re


def natural(name: str) -> list[str | int]:
    """A key that sorts numbers within names by their size.

    Example:
      >>> sorted(["accuracy_100", "loss", "accuracy_20"], key=natural)
      ['accuracy_20', 'accuracy_100', 'loss']
    """
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
