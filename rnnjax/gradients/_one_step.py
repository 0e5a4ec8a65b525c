"""A rule at one step of one example: what a batch of whole sequences does not show."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._leaves import differentiable, inexact
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.gradients._rules import checked_rule
from rnnjax.gradients._values import quick_jit


def one_step_problems(
    cell: Cell, params: Params, carry: Carry, x_t: PyTree, cts: Any, tolerance: float
) -> tuple[str, ...]:
    """What is wrong with the cell's rule at a carry and an input without batch axes.

    `cts` are the cotangents of the step's carry and output; None for leaves without a gradient.
    """
    gradients = quick_jit(partial(_gradients, cell))
    try:
        by_rule, by_autodiff, delta = gradients(params, carry, x_t, cts, 1.0)
    except Exception as error:  # any function of the user's may be what fails
        return (f"without a batch axis the rule fails: {type(error).__name__}: {error}",)
    problems = []
    flat = jax.tree_util.tree_flatten_with_path(by_autodiff)[0]
    for (path, exact), value in zip(flat, jax.tree.leaves(by_rule), strict=True):
        error = np.max(np.abs(value - exact), initial=0) / (np.max(np.abs(exact), initial=0) or 1)
        if not error <= tolerance:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            problems.append(
                f"without a batch axis the gradient of {name} by the rule is {error:.1e} off"
            )
    clipped = gradients(params, carry, x_t, cts, 0.0)[2]
    pairs = list(zip(jax.tree.leaves(delta), jax.tree.leaves(clipped), strict=True))
    if any(np.any(a) for a, _ in pairs) and all(np.array_equal(a, b) for a, b in pairs):
        problems.append("rule.backward ignores clip: apply it to δ_t before the recurrent product")
    return tuple(problems)


def _gradients(
    cell: Cell, params: Params, carry: Carry, x_t: PyTree, cts: Any, scale: Array
) -> tuple[Any, Any, PyTree]:
    """By the rule, with δ_t multiplied by `scale` where it is clipped; by autodiff; and δ_t."""
    rule = checked_rule(cell.rule)  # pyright: ignore
    xs = jax.tree.map(lambda leaf: leaf[None], x_t)
    z_t = jax.tree.map(lambda leaf: leaf[0], rule.project(params, xs))
    _, tape = rule.forward(params, carry, z_t)
    new_ct, y_ct = cts
    carry_ct, delta = rule.backward(
        params, tape, new_ct, y_ct, lambda d: (d * scale).astype(d.dtype)
    )
    one = jax.tree.map(lambda leaf: leaf[None], (tape, delta))
    params_ct, xs_ct = rule.gradients(params, xs, *one)
    by_rule = {"params": params_ct, "carry": carry_ct, "x_t": _first(xs_ct)}

    def cost(at: Any) -> Array:
        out = jax.tree.leaves(cell.step(at["params"], at["carry"], at["x_t"]))
        terms = zip(jax.tree.leaves(cts), inexact(out), strict=True)
        return sum((jnp.sum(jnp.real(w * leaf)) for w, leaf in terms), start=jnp.zeros(()))

    at = {"params": params, "carry": carry, "x_t": x_t}
    exact = jax.grad(cost, allow_int=True)(at)
    return differentiable(by_rule), differentiable(exact), delta


def _first(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[0], tree)
