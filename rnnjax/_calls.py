"""Factories that are cached, and values that print as the call that makes them."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import numpy as np
from jax.core import Tracer

P = ParamSpec("P")
T = TypeVar("T")

_CACHE_SIZE = 4096


class Call(NamedTuple):
    """A call of a factory, arguments that have their default left out; prints as it is written."""

    name: str
    positional: tuple[Any, ...] = ()
    keywords: tuple[tuple[str, Any], ...] = ()
    factory: Callable[..., Any] | None = None  # what was called

    def reduced(self) -> tuple[Any, ...]:
        """For `__reduce__` of what the call made: pickle the call, and make it again from it."""
        return _repeat, (self.factory, self.positional, self.keywords)

    def __str__(self) -> str:
        parts = [_text(value) for value in self.positional]
        parts += [f"{name}={_text(value)}" for name, value in self.keywords]
        return f"{self.name}({', '.join(parts)})"


def _repeat(factory: Callable[..., T], positional: tuple[Any, ...], keywords: Any) -> T:
    return factory(*positional, **dict(keywords))


class Value:
    """A frozen dataclass that prints as the call that makes it: `truncated(20)`.

    Its fields are the arguments of the factory, in order, keyword-only ones included, and `name`
    is the factory's name. Use with `dataclass(frozen=True, repr=False)`.
    """

    def __repr__(self) -> str:
        fields = [f for f in dataclasses.fields(self) if f.init]  # pyright: ignore
        given = [(f, getattr(self, f.name)) for f in fields]
        keywords = tuple((f.name, v) for f, v in given if f.kw_only and v != f.default)
        positional = [(f, v) for f, v in given if not f.kw_only]
        while positional and positional[-1][1] == positional[-1][0].default:
            positional.pop()
        return str(Call(self.name, tuple(v for _, v in positional), keywords))  # pyright: ignore


def _text(value: Any) -> str:
    if isinstance(value, np.dtype):
        return repr(value.name)
    if inspect.isfunction(value):
        return value.__qualname__
    return repr(value)


class _Arguments(NamedTuple):
    values: tuple[tuple[str, Any], ...]  # by parameter, defaults included
    types: tuple[Any, ...]  # 1 == 1.0 == True, but they are not the same argument


def cached(stamp: Callable[[T, Call], T]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator for factories: equal calls return the same object, stamped with its call.

    Arguments that cannot be hashed, such as traced values, are passed on and nothing is cached.
    """

    def decorate(make: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(make)

        @functools.lru_cache(_CACHE_SIZE)
        def build(arguments: _Arguments) -> T:
            bound = inspect.BoundArguments(signature, dict(arguments.values))  # pyright: ignore
            made = make(*bound.args, **_thawed(bound))
            call = _call(make.__name__, signature, dict(arguments.values))
            return stamp(made, call._replace(factory=factory))

        @functools.wraps(make)
        def factory(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                bound = signature.bind(*args, **kwargs)
                bound.apply_defaults()
                arguments = _canonical(signature, bound.arguments)
                hash(arguments)
            except TypeError:  # a wrong call, whose error `make` raises, or one that has no hash
                return make(*args, **kwargs)
            return build(arguments)

        return factory

    return decorate


def _canonical(signature: inspect.Signature, arguments: dict[str, Any]) -> _Arguments:
    values = {name: _plain(signature.parameters[name], value) for name, value in arguments.items()}
    return _Arguments(tuple(values.items()), tuple(_types(value) for value in values.values()))


def _plain(parameter: inspect.Parameter, value: Any) -> Any:
    """One of the forms in which the same argument may come."""
    if isinstance(value, dict):  # **keywords
        return tuple((name, _by_python(x)) for name, x in value.items())
    value = _by_python(value)
    if isinstance(value, list) and all(isinstance(x, int | float | complex) for x in value):
        value = tuple(value)
    if parameter.name == "dtype" and value is not None:
        return np.dtype(value)
    if isinstance(parameter.default, float) and type(value) is int:
        return float(value)
    return value


def _by_python(value: Any) -> Any:
    """Numbers of NumPy or JAX as Python's, but for what is traced and for PRNG keys."""
    known = isinstance(value, jax.Array) and not isinstance(value, Tracer)
    if known and value.dtype.kind in ("fc" if value.ndim else "biufc"):
        value = np.asarray(value)
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "biufc":
        return value.tolist()
    return value


def _types(value: Any) -> Any:
    return tuple(map(_types, value)) if type(value) is tuple else type(value)


def _thawed(bound: inspect.BoundArguments) -> dict[str, Any]:
    """The keyword arguments, `**keywords` as the dict that it was."""
    keywords = {}
    for name, parameter in bound.signature.parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords[name] = bound.arguments[name]
        elif parameter.kind is parameter.VAR_KEYWORD:
            keywords.update(bound.arguments[name])
    return keywords


def _call(name: str, signature: inspect.Signature, values: dict[str, Any]) -> Call:
    positional: list[Any] = []
    keywords: list[tuple[str, Any]] = []
    skipped = False
    for parameter in signature.parameters.values():
        value = values[parameter.name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional.extend(value)
        elif parameter.kind is parameter.VAR_KEYWORD:
            keywords.extend(value)
        elif type(value) is type(parameter.default) and value == parameter.default:
            skipped = True  # of one type, as np.dtype("float64") == None
        elif parameter.kind is parameter.KEYWORD_ONLY or skipped:
            keywords.append((parameter.name, value))
        else:
            positional.append(value)
    return Call(name, tuple(positional), tuple(keywords))
