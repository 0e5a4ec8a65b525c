"""The protocols of running a cell: how to execute a recurrence, and how to differentiate it.

    run = gradient.wrap(method.bind(cell, gradient.base, reverse), reverse)

A *base* gradient says how one loop is differentiated; a *wrapping* gradient cuts a run in time and
passes each piece to a run that any method has made.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from rnnjax._checks import described
from rnnjax._types import Array, Carry, Cell, Clip, Params, PyTree


class Sequence(NamedTuple):
    """A validated input sequence and all that comes with it: arrays only."""

    xs: PyTree  # leaves [T, ..., *features]
    carry: Carry  # before the first step
    fresh: Carry  # what the carry restarts from at a reset
    lengths: Array | None  # [...] int32
    resets: Array | None  # [T, ...] bool


Run = Callable[[Params, Sequence], tuple[Carry, PyTree]]
"""A cell over a whole sequence: `(params, sequence) -> (carry, ys)`, traced under `jit`."""


class Loop(Protocol):
    """A loop over time that a base gradient runs a cell's functions in."""

    @property
    def hoist(self) -> bool:
        """Whether `Rule.project` runs once over the whole sequence, before the loop."""
        ...

    def scan(
        self, body: Callable[..., Any], carry: Carry, xs: PyTree, reverse: bool, /
    ) -> tuple[Carry, PyTree]:
        """A loop over the leading axis of xs, as `lax.scan`."""
        ...


class Gradient(Protocol):
    """How to differentiate a recurrence: a hashable value such as `truncated(20)`."""

    @property
    def name(self) -> str: ...

    @property
    def base(self) -> "BaseGradient | None":
        """How each loop is differentiated; None for the default of the method that runs it."""
        ...

    def wrap(self, run: Run, reverse: bool, /) -> Run:
        """The same run, differentiated this way."""
        ...


@runtime_checkable
class BaseGradient(Gradient, Protocol):
    """How one loop is differentiated: `autodiff()` or `bptt()`."""

    @property
    def clip(self) -> Clip | None:
        """What is done to δ_t inside the loop; None for nothing."""
        ...

    def refusal(self, cell: Cell, /) -> str | None:
        """Why this cell cannot be differentiated so, as a sentence to show; None if it can."""
        ...

    def loop(
        self, cell: Cell, loop: Loop, params: Params, carry: Carry, xs: PyTree, reverse: bool, /
    ) -> tuple[Carry, PyTree]:
        """Run `cell` over `xs` so that `jax.grad` of the result is taken this way."""
        ...


@runtime_checkable
class OnlineGradient(BaseGradient, Protocol):
    """A base gradient that is computed forwards in time, beside the cell's own steps."""

    def bind(self, cell: Cell, loop: Loop, reverse: bool, carries: bool, /) -> Run:
        """The run of `cell` over a sequence; with `carries`, its outputs are `(carries, ys)`."""
        ...


class Method(Protocol):
    """How to execute a recurrence: a hashable value such as `sequential()`."""

    @property
    def name(self) -> str: ...

    def refusal(
        self, cell: Cell, base: BaseGradient | None, params: Params, sequence: Sequence, /
    ) -> str | None:
        """Why this cannot be run here, as a sentence to show; None if it can.

        `base` is None for the method's own default. For a layer above the first, `sequence.xs`
        has the right leading axes only: its features are not known yet.
        """
        ...

    def bind(self, cell: Cell, base: BaseGradient | None, reverse: bool, /) -> Run:
        """The run of a problem that `refusal` has let through."""
        ...


def check_gradient(name: str, value: Any) -> Any:
    """`value`, if it is a `Gradient` such as `bptt()`."""
    return _check_value(name, value, ("wrap", "base"), "gradient", "rnnjax.bptt()")


def check_method(name: str, value: Any) -> Any:
    """`value`, if it is a `Method` such as `sequential()`, or `auto()`."""
    if getattr(value, "name", None) == "auto" and not isinstance(value, type):
        return value
    return _check_value(name, value, ("bind", "refusal"), "method", "rnnjax.sequential()")


def _check_value(name: str, value: Any, has: tuple[str, ...], kind: str, example: str) -> Any:
    if not isinstance(value, type) and all(hasattr(value, attribute) for attribute in has):
        return value
    hint = f": call it, as in {value.__name__}()" if inspect.isfunction(value) else ""
    if isinstance(value, str):
        hint = ": the function itself is meant, called, and not its name"
    raise TypeError(f"{name} must be a {kind} such as {example}, got {described(value)}{hint}")
