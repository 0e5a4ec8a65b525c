"""Options that have no effect beside others are refused, not ignored."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from rnnjax._names import option


def check_no_effect(make: Callable[..., Any], given: Mapping[str, Any], reason: str) -> None:
    """Raise ValueError if one of these options is given: another value than its default.

    Args:
      make: the function whose options they are.
      given: option -> value.
      reason: why they have no effect, such as "without csv".

    Example:
      >>> check_no_effect(sorted, {"reverse": False}, "without a key")
      >>> check_no_effect(sorted, {"reverse": True}, "without a key")
      Traceback (most recent call last):
      ...
      ValueError: reverse=True has no effect without a key: leave it out
    """
    parameters = inspect.signature(make).parameters
    for name, value in given.items():
        if value != parameters[name].default:
            raise ValueError(f"{option(name, value)} has no effect {reason}: leave it out")
