"""What is right: rnnjax's `autodiff()` of a plain scan in float64, and how far others are."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from benchmarks.ours import our_net
from benchmarks.problem import Pass, Problem
from benchmarks.program import Answer, answer_of

TOLERANCE = 1e-3
"""The largest relative error of float32 programs that are timed."""


def reference(problem: Problem, which: Pass) -> Answer:
    """The answer in float64, by the method and the gradient that everything else is held to."""
    net = our_net(problem, rnnjax.sequential(), rnnjax.autodiff())

    def cost(params, xs, weights, lengths):
        return jnp.vdot(weights, net.apply(params, xs, lengths))

    with jax.enable_x64(True):
        widen = partial(jnp.asarray, dtype=jnp.float64)
        params, xs, weights = jax.tree.map(widen, (net.params, problem.xs, problem.weights))
        if which == "forward":
            ys = jax.jit(net.apply)(params, xs, problem.lengths)
            return answer_of(problem, ys=np.asarray(ys))
        gradient = jax.jit(jax.grad(cost, argnums=(0, 1)))
        params_ct, xs_ct = gradient(params, xs, weights, problem.lengths)
        return answer_of(problem, blocks=net.blocks(params_ct), xs_ct=np.asarray(xs_ct))


def worst_error(found: Answer, exact: Answer) -> tuple[float, str]:
    """The largest max|a - b| / max|b| over the arrays that both have, and the array's name.

    Not a number counts as infinitely wrong; so do a wrong shape and arrays that are nowhere else.
    """
    if not found or not found.keys() <= exact.keys():
        return np.inf, "names"
    errors = {name: _relative(value, exact[name]) for name, value in found.items()}
    worst = max(errors, key=errors.__getitem__)
    return errors[worst], worst


def _relative(found: np.ndarray, exact: np.ndarray) -> float:
    if found.shape != exact.shape:
        return np.inf
    scale = max(float(np.max(np.abs(exact), initial=0.0)), np.finfo(np.float64).tiny)
    error = float(np.max(np.abs(found - exact), initial=0.0)) / scale
    return error if np.isfinite(error) else np.inf
