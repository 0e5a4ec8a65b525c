"""Which method to run: the fastest that can."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rnnjax._types import Cell, Fused, Gradient, Method, Params, PyTree, Sequence, Stepwise
from rnnjax.cells._sequence import checked_sequence
from rnnjax.methods._cudnn import cudnn
from rnnjax.methods._native import native
from rnnjax.methods._sequential import sequential


@dataclass(frozen=True)
class Auto:
    """The value made by `auto()`."""

    name: str = field(default="auto", init=False, repr=False)


class Verdict(NamedTuple):
    """One method that was considered, and why it was not chosen; None if it was."""

    method: Method
    refusal: str | None


class Explanation(NamedTuple):
    """What `explain` found, the fastest method first; `print` it for a table."""

    method: Method  # the one that runs
    considered: tuple[Verdict, ...]

    def __str__(self) -> str:
        width = max(len(method.name) for method, _ in self.considered) + 2
        return "\n".join(
            f"{method.name + '()':<{width}}  {f'no: {refusal}' if refusal else f'runs: {method}'}"
            for method, refusal in self.considered
        )


def auto() -> Auto:
    """Let rnnjax choose: the fastest method that can run this problem on this machine.

    The rule, held to the tables of docs/performance.md: on an NVIDIA GPU `cudnn()`, on a CPU
    `native()`, and where neither can run the problem, `sequential()`. A method cannot run what it
    has no kernel for: another cell, dtype or gradient. The choice never changes a result by more
    than rounding; `rnnjax.methods.explain` shows it.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.lstm(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> rnnjax.unroll(cell, params, jax.numpy.ones((5, 3)), method=rnnjax.auto())[1].shape
      (5, 4)
    """
    return Auto()


def explain(
    cell: Cell,
    params: Params,
    xs: PyTree,
    *,
    gradient: Gradient | None = None,
    **options: Any,
) -> Explanation:
    """Which method `auto()` chooses for a call of `unroll`, and why not the others.

    Args:
      cell, params, xs, gradient: as for `rnnjax.unroll`.
      options: `carry`, `key`, `lengths`, `resets`, as for `rnnjax.unroll`.

    Returns:
      An `Explanation`: the method, and every one that was considered with what speaks against it.

    Raises:
      TypeError, ValueError: as `rnnjax.unroll`.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.identity_rnn(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> rnnjax.methods.explain(cell, params, jax.numpy.ones((5, 3))).method.name
      'sequential'
    """
    return _choose(cell, gradient, params, checked_sequence(cell, params, xs, **options))


def _choose(
    cell: Cell, gradient: Gradient | None, params: Params, sequence: Sequence
) -> Explanation:
    considered: list[Verdict] = []
    for method in (cudnn(), native(), sequential()):  # the fastest first; the last runs anything
        considered.append(Verdict(method, _refusal(method, cell, gradient, params, sequence)))
        if considered[-1].refusal is None:
            break
    return Explanation(considered[-1].method, tuple(considered))


def resolve(
    method: Method | Auto,
    cell: Cell,
    gradient: Gradient,
    params: Params,
    sequence: Sequence,
) -> Stepwise | Fused:
    """The method that runs: the one asked for, or the one `auto()` chooses.

    Raises:
      ValueError: it cannot run this.
    """
    if isinstance(method, Auto):
        return _choose(cell, gradient, params, sequence).method
    reason = _refusal(method, cell, gradient, params, sequence)
    if reason is not None:
        raise ValueError(
            f"method={method.name}() cannot run this: {reason}. Use method=rnnjax.auto(), which "
            "takes the fastest that can, or method=rnnjax.sequential(), which runs anything"
        )
    return method


def _refusal(
    method: Method, cell: Cell, gradient: Gradient | None, params: Params, sequence: Sequence
) -> str | None:
    """Why `method` cannot run this; None if it can. No gradient means `unroll`'s default."""
    default = "autodiff" if cell.rule is None else "bptt"
    name = default if gradient is None else gradient.name
    if name not in method.gradients:
        supported = ", ".join(f"{each}()" for each in method.gradients)
        return f"it cannot be differentiated by gradient={name}(): it supports {supported}"
    return method.refusal(cell, gradient, params, sequence)
