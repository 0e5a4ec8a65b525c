"""What a function reads by name, which tells whether a program that was made of it still holds."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from enum import Enum
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

# Types whose values never change: the same object is the same value.
_NUMBERS = (bool, int, float, complex, np.generic, jax.Array)
_FIXED = (*_NUMBERS, str, bytes, range, Enum, np.dtype, type, type(None), ModuleType)
_WITHOUT_ARRAYS = (*_FIXED, jax.ShapeDtypeStruct, jax.sharding.Mesh, jax.sharding.Sharding)
_LIBRARIES = ("jax", "jaxlib", "numpy", "ml_dtypes")  # whose functions may be of types of their own


class Reading:
    """A function and the values that it reads by name; equal while these are the same."""

    def __init__(self, function: Callable[..., Any], read: tuple[Any, ...]) -> None:
        self._function, self._read = function, read

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Reading)
            and self._function is other._function
            and len(self._read) == len(other._read)
            and all(map(_is_same, self._read, other._read))
        )

    def __hash__(self) -> int:
        return hash(self._function)


def reading(function: Callable[..., Any]) -> Reading | None:
    """A function with what it reads; None where it reads what may be changed in place."""
    read: list[Any] = []
    try:
        _read(function, getattr(_innermost(function), "__globals__", None), read, set())
    except _MayChangeError:
        return None
    return Reading(function, tuple(read))


def unseen_owner(function: Callable[..., Any]) -> Any:
    """The object with arrays that is called, or whose method is, if a compiled program would not
    see these change, or could not be looked up; else None."""
    inner = _innermost(function)
    owner = getattr(inner, "__self__", inner)
    if isinstance(inner, FunctionType) or not _holds_arrays(owner, set()):
        return None
    try:
        hash(function)
        _read(owner, None, [], set())
    except (TypeError, _MayChangeError):
        return owner
    return None


def _innermost(function: Any) -> Any:
    """What is called in the end through `functools.partial` and `jax.jit`."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, jax.stages.Wrapped):
            function = function.__wrapped__  # pyright: ignore
        else:
            return function


def _holds_arrays(x: Any, seen: set[int]) -> bool:
    if isinstance(x, jax.Array | np.ndarray):
        return True
    if id(x) in seen or isinstance(x, _WITHOUT_ARRAYS):
        return False
    if seen and hasattr(x, "shape") and isinstance(getattr(x, "dtype", None), np.dtype):
        return True  # such as a variable of nnx
    seen.add(id(x))
    held = x.values() if isinstance(x, dict) else getattr(x, "__dict__", {}).values()
    if isinstance(x, tuple | list | set | frozenset):
        held = x
    return any(_holds_arrays(part, seen) for part in held)


class _MayChangeError(Exception):
    """Raised at an object whose contents may be others at the next call."""


class _Content(NamedTuple):
    """A NumPy array, which may be changed in place, as what it holds."""

    dtype: np.dtype
    shape: tuple[int, ...]
    values: bytes


def _is_same(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, _Content) and a == b)


def _read(x: Any, own: Any, read: list[Any], seen: set[int]) -> None:
    """Add x and what is read through it to `read`; `own` are the globals of functions to enter."""
    if isinstance(x, np.ndarray) and not x.dtype.hasobject:
        read.append(_Content(x.dtype, x.shape, x.tobytes()))
        return
    read.append(x)
    if id(x) not in seen:
        seen.add(id(x))
        for part in _parts(x, own):
            _read(part, own, read, seen)


def _parts(x: Any, own: Any) -> Iterable[Any]:
    """What is read through an object that cannot be given other contents itself."""
    if isinstance(x, FunctionType):
        return _read_by(x) if x.__globals__ is own else ()
    if isinstance(x, functools._lru_cache_wrapper):
        return (x.__wrapped__,)
    if isinstance(x, MethodType):
        return (x.__self__, x.__func__)
    if isinstance(x, BuiltinFunctionType):
        return () if isinstance(x.__self__, ModuleType) else (x.__self__,)
    if isinstance(x, functools.partial):
        return (x.func, *x.args, *x.keywords.values())
    if isinstance(x, tuple | frozenset):
        return x
    if isinstance(x, _FIXED):
        return ()
    if _is_frozen(x):
        return [getattr(x, field.name, None) for field in dataclasses.fields(x)]
    if type(x).__module__.partition(".")[0] in _LIBRARIES and callable(x):
        return ()
    raise _MayChangeError


def _is_frozen(x: Any) -> bool:
    """Whether it is a dataclass whose fields cannot be set, as modules of Equinox and Linen are."""
    if not dataclasses.is_dataclass(x):
        return False
    linen = any(kind.__module__.startswith("flax.linen") for kind in type(x).__mro__)
    return linen or x.__dataclass_params__.frozen  # pyright: ignore


def _closed_over(function: FunctionType) -> Iterator[Any]:
    """Variables of outer functions, and defaults."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # not assigned yet
            yield cell.cell_contents
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()


def _read_by(function: FunctionType) -> Iterator[Any]:
    """What a function closes over, the globals that it names, and what it names of modules."""
    yield from _closed_over(function)
    codes = [function.__code__]
    for code in codes:
        codes += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
        found = [function.__globals__.get(name) for name in code.co_names]
        yield from found
        modules = [x for x in (*found, *_closed_over(function)) if isinstance(x, ModuleType)]
        for module in modules:
            yield from (vars(module).get(name) for name in code.co_names)
