"""The portable way to run a recurrence: `lax.scan`, step by step, on every XLA device."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax

from rnnjax._checks import check_positive_int
from rnnjax._types import Carry, Cell, Gradient, Params, PyTree, Sequence, Stepwise


@dataclass(frozen=True)
class Sequential:
    """The value made by `sequential()`."""

    unroll: int = 1
    hoist: bool = False
    name: str = field(default="sequential", init=False, repr=False)
    gradients: tuple[str, ...] = field(default=("autodiff", "bptt"), init=False, repr=False)

    def refusal(
        self, cell: Cell, gradient: Gradient | None, params: Params, sequence: Sequence
    ) -> str | None:
        return None

    def scan(
        self, body: Callable[..., Any], carry: Carry, xs: PyTree, reverse: bool
    ) -> tuple[Carry, PyTree]:
        return jax.lax.scan(body, carry, xs, reverse=reverse, unroll=self.unroll)


def sequential(*, unroll: int = 1, hoist: bool = False) -> Stepwise:
    """Run step by step with `jax.lax.scan`.

    Args:
      unroll: how many steps of the loop to compile in a row. More costs compile time and can
        pay for small nets.
      hoist: project the whole input in one product before the loop rather than step by step
        inside it. Applies to `bptt()`; results differ by rounding only. On CPUs the large
        [T, ..., G] intermediate usually costs more than the one product saves.

    Raises:
      ValueError: unroll < 1.
    """
    return Sequential(check_positive_int("unroll", unroll), hoist)
