"""Validators of plain arguments, without JAX: sizes, numbers, flags, probabilities and names."""

import functools
import inspect
import math
from collections import abc
from collections.abc import Callable, Iterable
from functools import partial
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ParamSpec, TypeVar, Union, get_args, get_origin

import numpy as np

from rnnjax._names import nearest, option

P = ParamSpec("P")
T = TypeVar("T")


def check_positive_int(name: str, value: int) -> int:
    """`value` as an int, if it is one and at least 1."""
    return _check_int(name, value, "a positive int", 1)


def check_nonnegative_int(name: str, value: int) -> int:
    """`value` as an int, if it is one and at least 0."""
    return _check_int(name, value, "an int of at least 0", 0)


def _check_int(name: str, value: Any, wanted: str, least: int) -> int:
    if not is_int(value):
        raise TypeError(f"{option(name)} must be {wanted}, got {value!r} ({type(value).__name__})")
    if value < least:
        raise ValueError(f"{option(name)} must be at least {least}, got {value}")
    return int(value)


def check_index(name: str, value: int, size: int, kind: str) -> int:
    """`value` as an int, if it is one of the `size` things of this kind, such as "classes"."""
    if not 0 <= check_int(name, value) < size:
        raise ValueError(
            f"{option(name)} must be one of the {size} {kind} (0..{size - 1}), got {value}"
        )
    return int(value)


def is_int(value: Any) -> bool:
    """Whether `value` is an int, and not a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_flag(name: str, value: Any) -> bool:
    """`value`, if it is a bool: the string "no" is true."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(
            f"{option(name)} must be True or False, got {value!r} ({type(value).__name__})"
        )
    return bool(value)


def check_number(name: str, value: Any) -> Any:
    """`value`, if it is a real number: Python's, NumPy's or a scalar array, and not NaN."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    scalar = getattr(value, "shape", None) == () and kind in ("i", "u", "f", "V")
    if not scalar and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise TypeError(
            f"{option(name)} must be a real number, got {value!r} ({type(value).__name__})"
        )
    try:
        unusable = math.isnan(value)
    except TypeError:  # a traced value, which is not known yet
        return value
    if unusable:
        raise ValueError(f"{option(name)} must be a real number, got nan")
    return value


def check_known_number(name: str, value: Any) -> Any:
    """`value`, if it is a real number that is no traced one, as part of what a cell is."""
    check_number(name, value)
    try:
        math.isnan(value)
    except TypeError:
        raise TypeError(
            f"{option(name)} is part of what the cell is, and is traced here, by jit, grad or "
            "vmap: make a cell for each of its values, outside"
        ) from None
    return value


def check_callable(name: str, value: Any, form: str) -> Any:
    """`value`, if it is a function of as many arguments as `form` has: "(key, shape) -> array"."""
    count = form.partition(")")[0].count(",") + 1
    return _check_callable(f"{option(name)} must be a function {form}", value, count)


def _check_callable(expected: str, value: Any, count: int) -> Any:
    if not callable(value):
        hint = ""
    elif not _takes(value, count):
        hint = ": it takes other arguments. A function that makes one has to be called"
    else:
        return value
    raise TypeError(f"{expected}, got {_short(value)}{hint}")


def _takes(function: Any, count: int) -> bool:
    """Whether it can be called with `count` arguments, as far as it says."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature; classes such as int take anything
        return not isinstance(function, type)
    return True


def _short(value: Any) -> str:
    name = getattr(value, "__qualname__", None)
    return f"the {type(value).__name__} {name}" if name else f"{value!r} ({type(value).__name__})"


def checked_arguments(make: Callable[P, T]) -> Callable[P, T]:
    """Decorator: flags, numbers, words and paths are validated by the annotations of a function."""
    signature = inspect.signature(make)
    checks = {
        name: check
        for name, parameter in signature.parameters.items()
        if name != "cell"  # a name in tasks, or a factory
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        and (check := _check_of(parameter.annotation)) is not None
    }
    checks |= {name: check_seed for name in checks if name == "seed" or name.endswith("_seed")}

    @functools.wraps(make)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in checks:
                checks[name](name, value)
        return make(*args, **kwargs)

    return checked


def _check_of(annotation: Any) -> Callable[[str, Any], Any] | None:
    """What an annotation demands; None where nothing is known of it."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    union = get_origin(annotation) in (Union, UnionType)
    kinds = list(get_args(annotation)) if union else [annotation]
    plain = [kind for kind in kinds if kind is not type(None)]
    check = _CHECKS.get(frozenset(plain)) if all(isinstance(k, type) for k in plain) else None
    first, origin = plain[0], get_origin(plain[0])
    if origin is abc.Callable and isinstance(get_args(first)[0], list):
        count = len(get_args(first)[0])
        size = f"{count} argument{'s' * (count != 1)}"
        check = lambda name, value: _check_callable(  # noqa: E731
            f"{option(name)} must be a function of {size}", value, count
        )
    elif origin in (abc.Sequence, abc.Iterable, abc.Mapping):
        check = partial(_check_collection, origin)
    elif len(plain) == 1 and isinstance(first, type) and hasattr(first, "_fields"):  # a Task
        check = None if first.__name__ == "Cell" else partial(_check_instance, first)  # its own
    if check is None or len(plain) == len(kinds):
        return check
    return lambda name, value: value if value is None else check(name, value)


def _check_collection(kind: Any, name: str, value: Any) -> Any:
    if isinstance(value, str) or not (isinstance(value, kind) or np.ndim(value) > 0):
        expected = kind.__name__.lower()
        raise TypeError(
            f"{option(name)} must be a {expected}, got {value!r} ({type(value).__name__})"
        )
    return value


def _check_instance(kind: type, name: str, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{option(name)} must be a {kind.__name__}, got a {type(value).__name__}")
    return value


def check_int(name: str, value: Any) -> int:
    """`value`, if it is an int."""
    if not is_int(value):
        raise TypeError(f"{option(name)} must be an int, got {value!r} ({type(value).__name__})")
    return int(value)


def check_seed(name: str, value: Any) -> int:
    """`value`, if it is an int of 32 bits: JAX would take a larger one modulo 2^32."""
    if check_int(name, value) < 0:
        raise ValueError(f"{option(name)} must be at least 0, got {value}")
    if value >= 2**32:
        raise ValueError(f"{option(name)} must be below 2^32, got {value}")
    return int(value)


def check_text(name: str, value: Any) -> str:
    """`value`, if it is a str."""
    if not isinstance(value, str):
        raise TypeError(f"{option(name)} must be a str, got {value!r} ({type(value).__name__})")
    return value


def check_path(name: str, value: Any) -> Any:
    """`value`, if it is a path or a str."""
    if not isinstance(value, str | PathLike):
        raise TypeError(f"{option(name)} must be a path, got {value!r} ({type(value).__name__})")
    return value


_CHECKS: dict[frozenset[Any], Callable[[str, Any], Any]] = {
    frozenset({bool}): check_flag,
    frozenset({float}): check_number,
    frozenset({int}): check_int,
    frozenset({str}): check_text,
    frozenset({Path}): check_path,
    frozenset({str, Path}): check_path,
}


def check_rate(name: str, rate: float) -> float:
    """`rate`, if it is a probability in [0, 1)."""
    if not 0.0 <= check_known_number(name, rate) < 1.0:
        raise ValueError(f"{option(name)} is a probability in [0, 1), got {rate}")
    return float(rate)


def check_choice(name: str, value: str, choices: Iterable[str]) -> str:
    """`value`, if it is one of `choices`; the error names them and the nearest."""
    choices = list(choices)
    if isinstance(value, str) and value in choices:
        return value
    raise ValueError(
        f"{option(name)} must be one of {', '.join(map(repr, choices))}, got {value!r}"
        f"{nearest(value, choices)}"
    )
