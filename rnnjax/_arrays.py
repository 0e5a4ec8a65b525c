"""Hashable values with arrays in them: what of a gradient may be traced goes beside the rest."""

import dataclasses
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from functools import partial
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import jax

from rnnjax._types import Array


class Static(NamedTuple):
    """A pytree without its arrays, in whose places is None."""

    tree: Hashable
    others: tuple[Any, ...]


def register_value(cls: type, data: tuple[str, ...]) -> None:
    """Make a frozen dataclass a pytree whose children are the fields in `data`.

    Not by `jax.tree_util.register_dataclass`: JAX 0.10 to 0.12 take the structures of two classes
    that are registered so for equal where their other fields are, and run one's program for the
    other.
    """
    others = [f.name for f in dataclasses.fields(cls) if f.init and f.name not in data]

    def flatten(value: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple(getattr(value, f) for f in data), tuple(getattr(value, f) for f in others)

    def unflatten(aux: tuple[Any, ...], children: tuple[Any, ...]) -> Any:
        return cls(**dict(zip((*others, *data), (*aux, *children), strict=True)))

    jax.tree_util.register_pytree_node(cls, flatten, unflatten)


def take_arrays(value: Any) -> tuple[Static, tuple[Array | None, ...]]:
    """`value` as its hashable part and its arrays, for `put_arrays`."""
    leaves, tree = jax.tree.flatten(value)
    arrays = tuple(leaf if isinstance(leaf, jax.Array) else None for leaf in leaves)
    others = tuple(None if isinstance(leaf, jax.Array) else leaf for leaf in leaves)
    return Static(tree, others), arrays


def with_hash(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, for `take_arrays`, such that a program that it is compiled into is run again as
    long as it reads the same.

    A function equals itself while the names in it mean the same objects: one that reads an array
    by name is compiled again where that name has been given another. What has no hash is another
    one at every call, so that nothing is kept of it.
    """
    if isinstance(function, FunctionType):
        return _Reading(function, tuple(_read_by(function)))
    try:
        hash(take_arrays(function)[0])
    except TypeError:
        return partial(function)
    return function


class _Reading:
    """A function and the objects that it reads by name."""

    def __init__(self, function: FunctionType, read: tuple[Any, ...]) -> None:
        self._function, self._read = function, read

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Reading)
            and self._function is other._function
            and len(self._read) == len(other._read)
            and all(a is b for a, b in zip(self._read, other._read, strict=True))
        )

    def __hash__(self) -> int:
        return hash(self._function)


def _read_by(function: FunctionType) -> Iterator[Any]:
    """The globals and variables of outer functions that a function names."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # not assigned yet
            yield cell.cell_contents
    codes = [function.__code__]
    for code in codes:
        codes += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
        for name in code.co_names:
            yield function.__globals__.get(name)


def put_arrays(static: Static, arrays: tuple[Array | None, ...]) -> Any:
    """Inverse of `take_arrays`."""
    leaves = [b if a is None else a for a, b in zip(arrays, static.others, strict=True)]
    return jax.tree.unflatten(static.tree, leaves)
