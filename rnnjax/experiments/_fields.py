"""Options of tasks and of training, read from the signatures that declare them."""

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, ParamSpec, TypeVar, Union, get_args, get_origin

from rnnjax._arguments import check_choice, check_flag, check_number, is_int
from rnnjax._names import option

P = ParamSpec("P")
T = TypeVar("T")


class Field(NamedTuple):
    """One option."""

    name: str
    kind: type  # int, float, str, bool or Path
    optional: bool  # whether it may be None
    help: str
    default: Any


def fields_of(declared: Callable[..., Any]) -> dict[str, Field]:
    """List the keyword options of a function, or the fields of a NamedTuple, by name.

    Each is annotated `Annotated[type, "help text"]` and has a default; the type is int, float,
    str, bool, Path, or one of these or None.
    """
    return {
        parameter.name: _field(parameter)
        for parameter in inspect.signature(declared).parameters.values()
    }


def _field(parameter: inspect.Parameter) -> Field:
    if get_origin(parameter.annotation) is not Annotated:
        raise TypeError(
            f"option {parameter.name!r} must be annotated Annotated[type, 'help text'], got "
            f"{parameter.annotation!r}"
        )
    declared, text = get_args(parameter.annotation)[:2]
    if get_origin(declared) not in (types.UnionType, Union):
        return Field(parameter.name, declared, False, text, parameter.default)
    (kind,) = (member for member in get_args(declared) if member is not type(None))
    return Field(parameter.name, kind, True, text, parameter.default)


def with_checked_options(make: Callable[P, T]) -> Callable[P, T]:
    """A decorator: options of another type than is declared are an error, "no" for a flag too."""
    fields = fields_of(make)

    @functools.wraps(make)
    def checked_make(*args: P.args, **options: P.kwargs) -> T:
        for name, value in options.items():
            if name in fields:
                options[name] = as_declared(name, value, fields[name])
        return make(*args, **options)

    return checked_make


def as_declared(name: str, value: Any, field: Field) -> Any:
    """The value of an option, if it is of the type that its field declares; paths may be strings.

    Raises:
      TypeError: it is of another type.
      ValueError: it is NaN.
    """
    if (value is None and field.optional) or (field.kind is str and callable(value)):
        return value  # a cell may also be a factory
    if field.kind is bool:
        return check_flag(name, value)
    if field.kind is float:
        check_number(name, value)
        return value
    if field.kind is Path and isinstance(value, str):
        return Path(value)
    if field.kind is int and "seed" not in name and is_int(value) and value and value >= 2**31:
        raise ValueError(f"{option(name)} must be below 2^31, got {value}")
    if not (is_int(value) if field.kind is int else isinstance(value, field.kind)):
        kinds = {int: "an int", str: "a string", Path: "a path"}
        raise TypeError(
            f"{option(name)} must be {kinds[field.kind]}, got {value!r} ({type(value).__name__})"
        )
    return value


def checked(values: Mapping[str, Any], fields: Mapping[str, Field], where: str) -> dict[str, Any]:
    """Validate values from a TOML file, and convert each to the type of its field.

    Args:
      values: name -> value.
      fields: the known fields.
      where: the beginning of error messages, such as "run.toml, [settings]".

    Raises:
      ValueError: an unknown name (the nearest is suggested), or a value of another type.
    """
    found = {}
    for name, value in values.items():
        field = fields[check_choice(f"{where}: a name", name, fields)]
        found[name] = _as_kind(value, field, f"{where}: {name}")
    return found


def _as_kind(value: Any, field: Field, where: str) -> Any:
    if field.kind is Path and isinstance(value, str):
        return Path(value)
    if field.kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, field.kind) or (isinstance(value, bool) and field.kind is not bool):
        wanted = "a path in quotes" if field.kind is Path else f"of type {field.kind.__name__}"
        raise ValueError(f"{where} must be {wanted}, got {value!r}")
    return value
