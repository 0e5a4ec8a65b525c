"""Method selection: the fastest method that can run a problem."""

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, NamedTuple

import jax

from rnnjax._calls import Value
from rnnjax._checks import check_cell, check_flag, check_mask
from rnnjax._execution import (
    BaseGradient,
    Gradient,
    Method,
    OnlineGradient,
    Run,
    Sequence,
    check_gradient,
    check_method,
)
from rnnjax._params import check_params
from rnnjax._types import Array, Carry, Cell, Params, PyTree, known
from rnnjax.combinators import inner_cell, without_learned_carries
from rnnjax.methods._associative import associative
from rnnjax.methods._native import native
from rnnjax.methods._sequential import sequential
from rnnjax.running import around, one_after_another, validate_shaped

_UNROLLED = 8  # steps of a loop, each a few launches, that a GPU is given in a row


@dataclass(frozen=True, repr=False)
class Auto(Value):
    """The value made by `auto()`."""

    name: str = field(default="auto", init=False)


class Considered(NamedTuple):
    """One method that was considered, and why it was not chosen; None if it was."""

    method: Method
    refusal: str | None


class Explanation(NamedTuple):
    """What `explain` found, the fastest method first; `print` it for a table."""

    plan: "Plan"
    considered: tuple[Considered, ...]
    layers: "tuple[Explanation, ...]" = ()
    around: bool = False  # whether there is one layer, the cell that this one is around

    @property
    def method(self) -> Method | None:
        """The one method that runs all of it; None where layers have different ones."""
        methods = {layer.method for layer in self.layers} or {self.plan}
        return methods.pop() if len(methods) == 1 else None  # pyright: ignore

    def __str__(self) -> str:
        width = max(len(method.name) for method, _ in self.considered) + 2
        lines = [
            f"{method.name + '()':<{width}}  {f'no: {refusal}' if refusal else f'runs: {method}'}"
            for method, refusal in self.considered
        ]
        for index, layer in enumerate(self.layers):
            heading = "the cell that it is around" if self.around else f"layer {index + 1}"
            lines += [f"{heading}:", *(f"  {line}" for line in str(layer).splitlines())]
        return "\n".join(lines)


Plan = Method | tuple[Any, ...]
"""The method of a cell, or a tuple with the plan of each of its layers, or of the cell inside."""


def auto() -> Auto:
    """Let rnnjax choose: the fastest method that can run this problem on this machine.

    The rule, measured in docs/performance.md: on a CPU `native()`, and what it has no kernel for
    (another cell, dtype or gradient) by `sequential()`. On a GPU `associative()` for cells that are
    linear in their carry entry by entry, and for all others `sequential(unroll=8)`, which takes
    about twice as long to compile as `sequential()` and half as long to run; `cudnn()` was never
    faster. The layers of a `stack` are run one after the other, each by its own best method, and
    the cell inside `residual` and `input_dropout` by its own. The choice never changes a result by
    more than rounding; `rnnjax.methods.explain` shows it.

    A batch that is divided among devices stays so: each runs the kernels of `native()` on its part.

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
    carry: Carry | None = None,
    key: Array | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    initial_carry: Carry | None = None,
    mask: Array | None = None,
    reverse: bool = False,
    gradient: Gradient | None = None,
    return_carries: bool = False,
) -> Explanation:
    """Which method `auto()` chooses for a call of `unroll`, and why not the others.

    Args:
      cell, params, xs: as for `rnnjax.unroll`.
      carry, key, lengths, resets, initial_carry, mask, reverse, gradient, return_carries: likewise.

    Returns:
      An `Explanation`: the method, and every one that was considered with what speaks against it;
      for a stack, the same for each layer.

    Raises:
      TypeError, ValueError: as `rnnjax.unroll`.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.identity_rnn(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> rnnjax.methods.explain(cell, params, jax.numpy.ones((5, 3))).method.name
      'sequential'
    """
    params = check_params(cell, params)
    base = None if gradient is None else check_gradient("gradient", gradient).base
    sequence, length, batch_shape = validate_shaped(
        cell, params, xs, carry, key, lengths, resets, initial_carry
    )
    if mask is not None:
        check_mask(mask, length, batch_shape)
    check_flag("reverse", reverse)
    cell, params = without_learned_carries(cell, params)
    if check_flag("return_carries", return_carries):
        lacking = "it does not keep the carry of every step, which return_carries=True asks for"
        loop = sequential()
        return Explanation(loop, (Considered(native(), lacking), Considered(loop, None)))
    return _choose(cell, base, params, sequence)


def _choose(
    cell: Cell, base: BaseGradient | None, params: Params, sequence: Sequence
) -> Explanation:
    considered: list[Considered] = []
    # The fastest first, and where it is not.
    for method, doubt in ((native(), lambda _: None), (associative(), _slow_by_scan)):
        reason = method.refusal(cell, base, params, sequence) or doubt(cell)
        considered.append(Considered(method, reason))
        if reason is None:
            return Explanation(method, tuple(considered))
    layers = tuple(_choose(*each) for each in _layers(cell, base, params, sequence))
    is_around = not known(cell).layers
    if layers and not (is_around and _is_a_loop(layers[0].plan)):
        plan = tuple(layer.plan for layer in layers)
        return Explanation(plan, tuple(considered), layers, is_around)
    runs_anything = sequential(unroll=_UNROLLED if jax.default_backend() == "gpu" else 1)
    considered.append(Considered(runs_anything, None))
    return Explanation(runs_anything, tuple(considered))


def _is_a_loop(plan: Plan) -> bool:
    """Whether all of it is run step by step, as a cell around it can be in the same loop."""
    if isinstance(plan, tuple):
        return all(map(_is_a_loop, plan))
    return plan.name == "sequential"


def _slow_by_scan(cell: Cell) -> str | None:
    """Why `associative()` need not be faster than a loop; None where it was."""
    if jax.default_backend() != "gpu":
        return "on this device it is not always faster than sequential(): see docs/performance.md"
    linear = known(cell).linear
    if linear is not None and linear.product == "matrix":
        return "products of whole matrices were not always faster than sequential()"
    return None


def _layers(
    cell: Cell, base: BaseGradient | None, params: Params, sequence: Sequence
) -> list[tuple[Cell, BaseGradient | None, Params, Sequence]]:
    """What `_choose` and `_plan` take, for each layer of the cell, or the one that it is around;
    empty for other cells."""
    cells, how = known(cell).layers, known(cell).around
    if isinstance(base, OnlineGradient):  # which sees all that params reach
        return []
    if how is not None:
        how = inner_cell(how)
        carry, fresh = (how.split(each)[0] for each in (sequence.carry, sequence.fresh))
        own = sequence._replace(carry=carry, fresh=fresh)
        return [(how.cell, base, how.own(params), own)]
    if not cells:
        return []
    return [
        (layer, base, own, sequence._replace(carry=carry, fresh=fresh))
        for layer, own, carry, fresh in zip(
            cells, params, sequence.carry, sequence.fresh, strict=True
        )
    ]


def resolve(
    method: Method | Auto,
    cell: Cell,
    base: BaseGradient | None,
    params: Params,
    sequence: Sequence,
) -> Plan:
    """What runs: the method asked for, or what `auto()` chooses.

    Raises:
      ValueError: it cannot run this.
    """
    check_cell(cell)
    check_method("method", method)
    reason = base and check_gradient("gradient", base).refusal(cell)
    if reason:
        raise ValueError(reason)
    if isinstance(method, Auto):
        return _choose(cell, base, params, sequence).plan
    plan = _plan(method, cell, base, params, sequence)
    if isinstance(plan, str):
        raise ValueError(
            f"method={method.name}() cannot run this: {plan}. Use method=rnnjax.auto(), which "
            "takes the fastest that can, or method=rnnjax.sequential(), which runs anything"
        )
    return plan


def _plan(
    method: Method, cell: Cell, base: BaseGradient | None, params: Params, sequence: Sequence
) -> Plan | str:
    """`method` for the whole cell, or for every one of its layers; a str says why neither can."""
    reason = method.refusal(cell, base, params, sequence)
    if reason is None:
        return method
    plans = [_plan(method, *each) for each in _layers(cell, base, params, sequence)]
    refused = [plan for plan in plans if isinstance(plan, str)]
    if plans and not refused:
        return tuple(plans)
    return refused[0] if refused else reason


def with_carries(method: Method | Auto) -> Method:
    """A method whose outputs are `(carries, ys)`, both of every step.

    Raises:
      ValueError: this one has but the last carry.
    """
    if isinstance(method, Auto):
        method = sequential()
    if not is_dataclass(method) or "carries" not in {f.name for f in fields(method)}:
        raise ValueError(
            f"method={method.name}() does not keep the carries of every step, which "
            "return_carries=True asks for: use method=rnnjax.sequential(), or rnnjax.auto(), which "
            "then takes it, rnnjax.associative() for a cell that is linear in its carry, or "
            "rnnjax.deer()"
        )
    return replace(method, carries=True)


def bind(plan: Plan, cell: Cell, base: BaseGradient | None, reverse: bool) -> Run:
    """The run of a plan: by its method, or by that of each layer over what the one below gives, or
    by that of the cell that it is around."""
    if not isinstance(plan, tuple):
        return plan.bind(cell, base, reverse)
    how = known(cell).around
    if how is not None:
        how = inner_cell(how)
        inner = bind(plan[0], how.cell, base, reverse)
        return around(how, inner, reverse, _keeps_carries(plan))
    layers = zip(plan, known(cell).layers, strict=True)
    runs = [bind(own, layer, base, reverse) for own, layer in layers]
    return one_after_another(runs, _keeps_carries(plan))


def _keeps_carries(plan: Plan) -> bool:
    if isinstance(plan, tuple):
        return any(map(_keeps_carries, plan))
    return getattr(plan, "carries", False)
