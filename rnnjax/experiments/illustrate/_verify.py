"""The lines of an illustration against the rule that they illustrate, and against autodiff."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Cell
from rnnjax.experiments.illustrate._lines import Illustration
from rnnjax.experiments.illustrate._notation import evaluate, parse_value
from rnnjax.experiments.illustrate._run import Problem, Run
from rnnjax.gradients import autodiff
from rnnjax.methods import sequential
from rnnjax.unrolling import unroll

_TOLERANCE = 1e-9


class Agreement(NamedTuple):
    """Largest differences between the lines and the library, relative to each array's largest."""

    step: float  # outputs and carries of `cell.step`
    tape: float  # what `rule.forward` saves
    backward: float  # δ_t and the carry's gradients by `rule.backward`
    gradients: float  # of weights and inputs by `rule.gradients`
    autodiff: float  # gradients of weights, inputs and the first carry by JAX, without the rule


def verify(cell: Cell, illustration: Illustration, problem: Problem, run: Run) -> Agreement:
    """Compare every line that the library computes too.

    Raises:
      RuntimeError: they differ, so that the illustration is not of this cell.
    """
    parts = {
        "step": _step(cell, illustration, problem, run),
        "tape": _tape(cell, illustration, problem, run),
        "backward": _backward(cell, illustration, problem, run),
        "gradients": _gradients(cell, illustration, problem, run),
        "autodiff": _autodiff(cell, illustration, problem, run),
    }
    worst: dict[str, float] = {}
    for part, pairs in parts.items():
        worst[part] = 0.0
        for name, got, want in pairs:
            difference = _difference(got, want)
            if not difference <= _TOLERANCE:
                raise RuntimeError(
                    f"{cell}: the illustration has another {name} than the cell's {part}, by "
                    f"{difference:.1e}: it has to follow the rule, in rnnjax/experiments/illustrate"
                )
            worst[part] = max(worst[part], difference)
    return Agreement(**worst)


Pairs = Iterator[tuple[str, Any, Any]]  # a name, the illustration's value, the library's


def _difference(got: Any, want: Any) -> float:
    got, want = np.ravel(np.asarray(got)), np.ravel(np.asarray(want))
    if got.shape != want.shape:
        return np.inf
    return float(np.max(np.abs(got - want), initial=0) / (np.max(np.abs(want), initial=0) or 1))


def _step(cell: Cell, illustration: Illustration, problem: Problem, run: Run) -> Pairs:
    carry = problem.carry
    for x, step in zip(problem.xs, run.steps, strict=True):
        carry, y = cell.step(problem.params, carry, jnp.asarray(x))
        yield "y_t", step["y_t"], y
        for field, k in illustration.carry.items():
            yield f"{k}_t", step[f"{k}_t"], getattr(carry, field)


def _tapes(cell: Cell, problem: Problem) -> list[Any]:
    rule: Any = cell.rule
    carry, tapes = problem.carry, []
    for z in rule.project(problem.params, jnp.asarray(problem.xs)):
        (carry, _), tape = rule.forward(problem.params, carry, z)
        tapes.append(tape)
    return tapes


def _tape(cell: Cell, illustration: Illustration, problem: Problem, run: Run) -> Pairs:
    for tape, step in zip(_tapes(cell, problem), run.steps, strict=True):
        for field, leaf in tape._asdict().items():
            blocks = [evaluate(parse_value(text), step) for text in _blocks(illustration, field)]
            yield f"{illustration.tape[field]}", np.concatenate(blocks, -1), leaf


def _blocks(illustration: Illustration, field: str) -> list[str]:
    return illustration.tape[field].split()


def _backward(cell: Cell, illustration: Illustration, problem: Problem, run: Run) -> Pairs:
    rule: Any = cell.rule
    carry_ct = jax.tree.map(jnp.zeros_like, problem.carry)
    tapes = _tapes(cell, problem)
    for tape, step in zip(reversed(tapes), reversed(run.steps), strict=True):
        y_ct = jnp.asarray(step["dy_t"][0])
        carry_ct, delta = rule.backward(problem.params, tape, carry_ct, y_ct, lambda d: d)
        blocks = [step[name] for name in illustration.delta.split()]
        yield "δ_t", np.concatenate(blocks, -1), delta
        for field, k in illustration.carry.items():
            yield f"d{k}_{{t-1}}⁺", step[f"d{k}_{{t-1}}⁺"], getattr(carry_ct, field)


def _gradients(cell: Cell, illustration: Illustration, problem: Problem, run: Run) -> Pairs:
    rule: Any = cell.rule
    tapes = jax.tree.map(lambda *leaves: jnp.stack(leaves), *_tapes(cell, problem))
    deltas = jnp.concatenate([step["δ_t"] for step in run.steps])
    params_ct, xs_ct = rule.gradients(problem.params, jnp.asarray(problem.xs), tapes, deltas)
    yield "dx_t", [step["dx_t"] for step in run.steps], xs_ct
    for field, name in illustration.gradients.items():
        yield name, run.sums[name], getattr(params_ct, field)


def _autodiff(cell: Cell, illustration: Illustration, problem: Problem, run: Run) -> Pairs:
    def cost(params: Any, xs: Any, carry: Any) -> Any:
        _, ys = unroll(cell, params, xs, carry=carry, gradient=autodiff(), method=sequential())
        return jnp.sum((ys - problem.targets) ** 2) / 2

    at = (problem.params, jnp.asarray(problem.xs), problem.carry)
    value, (params_ct, xs_ct, carry_ct) = jax.value_and_grad(cost, argnums=(0, 1, 2))(*at)
    yield "C", sum(step["C_t"] for step in run.steps), value
    yield "dx_t", [step["dx_t"] for step in run.steps], xs_ct
    for field, name in illustration.gradients.items():
        yield name, run.sums[name], getattr(params_ct, field)
    for field, k in illustration.carry.items():
        yield f"d{k}_{{t-1}}⁺", run.steps[0][f"d{k}_{{t-1}}⁺"], getattr(carry_ct, field)
