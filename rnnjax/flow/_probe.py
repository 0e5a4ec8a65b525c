"""A cell whose new carry is perturbed at the moment it is computed, inside the step.

∂C/∂carry_t is a total derivative: h_t reaches C through step t + 1 and through y_t, and c_t of
an LSTM through h_t as well. Adding e_t to what a step returns would miss every path inside the
step. So the step's jaxpr is evaluated operation by operation, and the perturbation e_t is added to
each value of the new carry as soon as it is computed: whatever the step computes from it sees it
perturbed.
"""

from typing import Any, NamedTuple

import jax
import jax.core
from jax.extend import core

from rnnjax._checks import is_inexact
from rnnjax._types import Array, Carry, Cell, Params, PyTree

_TRANSPARENT = ("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint")


class Probed(NamedTuple):
    """One step's input, and the perturbations of the differentiable leaves of its new carry."""

    value: PyTree
    nudges: list[Array]


class _Value:
    """A value of the jaxpr: known, or to be computed; `nudge` is added when it becomes known."""

    def __init__(self, known: Any = None) -> None:
        self.known = known
        self.nudge: Any = None

    def settle(self, known: Any) -> None:
        self.known = known if self.nudge is None else known + self.nudge


class _Operation(NamedTuple):
    equation: core.JaxprEqn
    alone: core.Jaxpr  # the equation as a program of its own
    inputs: list[_Value]
    outputs: list[_Value]


def probed(cell: Cell) -> Cell:
    """A cell on `Probed(x_t, e_t)`: e_t is added to carry_t before anything is computed from it.

    Raises:
      ValueError: (in the step) one operation whose inside cannot be perturbed, such as a loop or
        a custom derivative, computes the new carry together with other results.
    """

    def step(params: Params, carry: Carry, x_t: Probed) -> tuple[Carry, Array]:
        arguments = (params, carry, x_t.value)
        closed, shapes = jax.make_jaxpr(cell.step, return_shape=True)(*arguments)
        given = [_Value(x) for x in jax.tree.leaves(arguments)]
        program: list[_Operation] = []
        results = _flatten(closed.jaxpr, closed.consts, given, program)
        leaves = jax.tree.leaves(shapes[0])
        targets = [r for r, leaf in zip(results, leaves, strict=False) if is_inexact(leaf)]
        for target, nudge in zip(targets, x_t.nudges, strict=True):
            target.nudge = nudge if target.nudge is None else target.nudge + nudge
        for operation in program:
            _run(operation)
        computed = {id(value) for operation in program for value in operation.outputs}
        for value in {id(t): t for t in targets if id(t) not in computed}.values():
            value.settle(value.known)  # passed on unchanged: perturbed as an output
        return jax.tree.unflatten(jax.tree.structure(shapes), [r.known for r in results])

    return Cell(cell.init, cell.initial_carry, step)


def sources(cell: Cell, params: Params, carry: Carry, x_t: PyTree) -> list[int]:
    """Which leaves of carry_{t-1} the differentiable leaves of carry_t are computed from.

    Without those that the step passes on unchanged. All inputs of a loop or condition count as used
    by each of its results.
    """
    arguments = (params, carry, x_t)
    closed, shapes = jax.make_jaxpr(cell.step, return_shape=True)(*arguments)
    given = [_Value() for _ in jax.tree.leaves(arguments)]
    program: list[_Operation] = []
    results = _flatten(closed.jaxpr, closed.consts, given, program)
    new = [*zip(results, jax.tree.leaves(shapes[0]), strict=False)]
    needed = {id(result) for result, leaf in new if is_inexact(leaf)}
    for operation in reversed(program):
        if any(id(output) in needed for output in operation.outputs):
            needed |= {id(value) for value in operation.inputs}
    old = given[len(jax.tree.leaves(params)) :]
    pairs = enumerate(zip(old, results[: len(new)], strict=False))
    return [k for k, (before, after) in pairs if id(before) in needed and before is not after]


def _flatten(
    jaxpr: core.Jaxpr, consts: Any, given: list[_Value], program: list[_Operation]
) -> list[_Value]:
    """Append the operations of `jaxpr` to `program`, with calls inlined; return its results."""
    values: dict[Any, _Value] = dict(zip(jaxpr.invars, given, strict=True))
    values |= {v: _Value(x) for v, x in zip(jaxpr.constvars, consts, strict=True)}

    def read(atom: Any) -> _Value:
        return _Value(atom.val) if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        if equation.primitive.name in _TRANSPARENT:
            inner: Any = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
            body = getattr(inner, "jaxpr", inner)
            outputs = _flatten(body, getattr(inner, "consts", ()), inputs, program)
        else:
            outputs = [_Value() for _ in equation.outvars]
            program.append(_Operation(equation, _alone(jaxpr, equation), inputs, outputs))
        values |= zip(equation.outvars, outputs, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _alone(jaxpr: core.Jaxpr, equation: core.JaxprEqn) -> core.Jaxpr:
    inputs = [atom for atom in equation.invars if isinstance(atom, core.Var)]
    return jaxpr.replace(constvars=(), invars=inputs, outvars=equation.outvars, eqns=[equation])


def _run(operation: _Operation) -> None:
    equation, alone, inputs, outputs = operation
    _check_visible(equation, outputs)
    known = [
        value.known
        for value, atom in zip(inputs, equation.invars, strict=True)
        if isinstance(atom, core.Var)
    ]
    for value, result in zip(outputs, jax.core.eval_jaxpr(alone, (), *known), strict=True):
        value.settle(result)


def _check_visible(equation: core.JaxprEqn, outputs: list[_Value]) -> None:
    """Raise ValueError if a perturbed result may be read inside the operation that computes it."""
    if all(value.nudge is None for value in outputs):
        return
    used = [v for v in equation.outvars if not isinstance(v, core.DropVar) and is_inexact(v.aval)]
    if len(used) > 1 and any(True for _ in core.jaxprs_in_params(equation.params)):
        raise ValueError(
            f"the step computes its carry together with other results inside one "
            f"{equation.primitive.name!r} operation, so that paths from the carry to them cannot "
            "be told apart. Write that part of the step as plain operations (a Python loop over "
            "layers, jnp.where for a condition, no custom derivative around the whole step)"
        )
