"""The run of a cell over a sequence by a base gradient, in one loop over time."""

from rnnjax._execution import BaseGradient, Loop, OnlineGradient, Run, Sequence
from rnnjax._types import Carry, Cell, Params, PyTree
from rnnjax.gradients._autodiff import autodiff
from rnnjax.gradients._bptt import bptt
from rnnjax.running import final_carry, prepare, revealing


def exact(cell: Cell) -> BaseGradient:
    """The exact gradient of a cell, by its rule if it has one."""
    return autodiff() if cell.rule is None else bptt()


def run_of(
    cell: Cell, base: BaseGradient | None, loop: Loop, reverse: bool = False, carries: bool = False
) -> Run:
    """By `base`, exactly if None; with `carries`, the outputs are `(carries, ys)`."""
    gradient = base or exact(cell)
    if isinstance(gradient, OnlineGradient):
        return gradient.bind(cell, loop, reverse, carries)

    def run(params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
        ready, carry, xs = prepare(cell, params, sequence, reverse)
        ready = revealing(ready) if carries else ready
        carry, ys = gradient.loop(ready, loop, params, carry, xs, reverse)
        return final_carry(carry), ys

    return run
