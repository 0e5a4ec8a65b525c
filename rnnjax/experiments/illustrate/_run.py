"""All values of a short unfolded net, line by line: forward, backward, and the sums over time."""

from typing import Any, NamedTuple

import numpy as np

from rnnjax.experiments.illustrate._lines import Illustration
from rnnjax.experiments.illustrate._notation import evaluate

Values = dict[str, Any]  # float64 arrays [rows, columns] by name


class Run(NamedTuple):
    """What the lines of an illustration come to."""

    weights: Values
    steps: list[Values]  # one for each time step
    sums: Values


class Problem(NamedTuple):
    """What a run is made from, in float64."""

    params: Any  # of the cell
    xs: np.ndarray  # [T, D]
    targets: np.ndarray  # [T, H]
    carry: Any  # before the first step, of the cell


def compute(illustration: Illustration, problem: Problem) -> Run:
    """Evaluate every line at every step."""
    weights = weights_of(illustration, problem.params)
    letters = [(k, np.asarray(getattr(problem.carry, f))) for f, k in illustration.carry.items()]
    before = {k: value[None] for k, value in letters}
    steps: list[Values] = []
    for x, target in zip(problem.xs, problem.targets, strict=True):
        step = {"x_t": x[None], "τ_t": target[None]}
        step |= {f"{k}_{{t-1}}": value for k, value in before.items()}
        for line in illustration.forward:
            step[line.name] = evaluate(line.equation.value, weights | step)
        before = {k: step[f"{k}_t"] for k in before}
        steps.append(step)
    after = {k: np.zeros_like(value) for k, value in before.items()}
    for step in reversed(steps):
        step |= {f"d{k}_t⁺": value for k, value in after.items()}
        for line in illustration.backward:
            step[line.name] = evaluate(line.equation.value, weights | step)
        after = {k: step[f"d{k}_{{t-1}}⁺"] for k in after}
    sums = {
        line.name: evaluate(line.equation.value, [weights | s for s in steps])
        for line in illustration.sums
    }
    return Run(weights, steps, sums)


def weights_of(illustration: Illustration, params: Any) -> Values:
    """The blocks of the params by their names, each [rows, columns]."""
    weights: Values = {}
    for field, names in illustration.weights.items():
        leaf = np.asarray(getattr(params, field))
        blocks = np.split(leaf.reshape(-1, leaf.shape[-1]), len(names.split()), axis=-1)
        weights |= dict(zip(names.split(), blocks, strict=True))
    return weights
