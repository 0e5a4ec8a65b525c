"""Sequential execution by `lax.scan`, on every XLA device."""

from dataclasses import dataclass, field

from rnnjax._calls import Value
from rnnjax._checks import check_flag, check_positive_int
from rnnjax._execution import BaseGradient, Method, Run, Sequence
from rnnjax._types import Cell, Params
from rnnjax.gradients import run_of
from rnnjax.running import Scan


@dataclass(frozen=True, repr=False)
class Sequential(Value):
    """The value made by `sequential()`."""

    unroll: int = field(default=1, kw_only=True)
    hoist: bool = field(default=False, kw_only=True)
    carries: bool = field(default=False, kw_only=True)  # whether ys is (carries, ys)
    name: str = field(default="sequential", init=False)

    def refusal(
        self, cell: Cell, base: BaseGradient | None, params: Params, sequence: Sequence
    ) -> str | None:
        return None

    def bind(self, cell: Cell, base: BaseGradient | None, reverse: bool) -> Run:
        return run_of(cell, base, Scan(self.unroll, self.hoist), reverse, self.carries)


def sequential(*, unroll: int = 1, hoist: bool = False) -> Method:
    """Run step by step with `jax.lax.scan`.

    Serves every gradient; by default `bptt()` for a cell with a hand-derived rule, and
    `autodiff()` for others.

    Args:
      unroll: how many steps of the loop to compile in a row. More costs compile time and can
        pay for small nets.
      hoist: project the whole input in one product before the loop rather than step by step
        inside it. Applies to `bptt()`; results differ by rounding only. On CPUs the large
        [T, ..., G] intermediate usually costs more than the one product saves.

    Raises:
      ValueError: unroll < 1.
    """
    return Sequential(unroll=check_positive_int("unroll", unroll), hoist=check_flag("hoist", hoist))
