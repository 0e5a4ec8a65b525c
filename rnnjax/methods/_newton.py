"""Newton's method on all states of a recurrence at once, and its exact derivative.

    r_t = f(s_{t-1}, x_t) - s_t,     δ_t = J_t δ_{t-1} + r_t,     s_t ← s_t + δ_t

A step of the method is one affine scan over time. With the whole Jacobian J_t = ∂f/∂s_{t-1} it is
Newton's, and whatever stands for J_t, after k of them the first k steps are exact, since δ is zero
up to the first step whose residual r is not. The derivative is that of the solution (the implicit
function theorem), not of the iteration:

    ds_t = J_t ds_{t-1} + ∂f/∂θ dθ

with the whole J_t: a scan of the same kind, or a loop, whose transpose goes backwards in time.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Array, Params
from rnnjax.methods._levenberg_marquardt import damped
from rnnjax.methods._recurrence import Problem, Recurrence, Steps
from rnnjax.methods._unconverged import Otherwise, report
from rnnjax.running import final_carry, vary_along, varying_axes


class Certificate(NamedTuple):
    """How well each sequence of the batch [...] is solved."""

    residual: Array  # [...] max_t ‖f(s_{t-1}, x_t) - s_t‖₂
    iterations: Array  # [...] int32
    converged: Array  # [...] bool


@dataclass(frozen=True)
class Newton:
    """All that is not an array."""

    recurrence: Recurrence
    quasi: bool
    damping: float
    tolerance: float | None
    max_iterations: int
    otherwise: Otherwise | Literal["tell"]  # "tell": the certificate is returned
    adjoint: Literal["scan", "loop"]


class _Iterate(NamedTuple):
    s: Array  # [T, ..., S]
    to: Array  # [T, ..., S] f(s_{t-1}, x_t)
    residual: Array  # [...]
    scale: Array  # [...]
    rounds: Array  # int32: how many iterations ran
    iterations: Array  # [...] int32: those that the sequence needed so far
    moves: Array  # [...] bool: whether the last iteration changed anything
    best: Array  # [T, ..., S]
    best_residual: Array  # [...]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def states(net: Newton, params: Params, problem: Problem) -> tuple[Array, Certificate]:
    """The states [T, ..., S] and their certificate."""
    found = _iterate(net, params, problem)
    certificate = Certificate(found.best_residual, found.iterations, _converged(net, found))
    if net.otherwise == "tell":
        return found.best, certificate
    solved = jnp.all(certificate.converged)
    worst = jnp.max(certificate.residual)
    s = found.best
    if net.otherwise == "sequential":
        s = jax.lax.cond(solved, lambda: s, lambda: _by_loop(net, params, problem, s))
    told = report(net.otherwise, solved, worst, found.rounds)
    return jnp.where(told, s, jnp.nan), certificate


def _iterate(net: Newton, params: Params, problem: Problem) -> _Iterate:
    recurrence = net.recurrence
    blocks = recurrence.quasi_blocks() if net.quasi else recurrence.exact_blocks()
    axes = varying_axes((params, problem))

    def going(now: _Iterate) -> Array:
        return jnp.any(_active(net, now)) & (now.rounds < net.max_iterations)

    def body(now: _Iterate) -> _Iterate:
        J = recurrence.jacobian(blocks, params, problem, now.s)
        r = recurrence.in_blocks(blocks, now.to - now.s)
        if net.damping:
            step = damped(J, r, net.damping * now.residual**2, problem.begins, recurrence.reverse)
        else:
            step = recurrence.affine(J, r, problem.begins)
        s = now.s + recurrence.from_blocks(blocks, step)
        # What overflows is guessed anew; that it solves nothing is for the residual to say.
        s = jnp.where(jnp.isfinite(s), s, now.to)
        active = _active(net, now)
        s = jnp.where(active[None, ..., None], s, now.s)
        made = _measured(recurrence.steps(params, problem, s), s)
        is_better = ~(made.residual >= now.best_residual) & ~jnp.isnan(made.residual)
        return made._replace(
            rounds=now.rounds + 1,
            iterations=now.iterations + active.astype(jnp.int32),
            moves=jnp.any((s != now.s) & ~(jnp.isnan(s) & jnp.isnan(now.s)), axis=(0, -1)),
            best=jnp.where(is_better[None, ..., None], s, now.best),
            best_residual=jnp.where(is_better, made.residual, now.best_residual),
        )

    first = recurrence.first(problem)
    steps = jax.tree.leaves(problem.xs)[0].shape[0]
    guess = recurrence.steps(params, problem, jnp.broadcast_to(first, (steps, *first.shape))).s
    start = _measured(recurrence.steps(params, problem, guess), guess)
    return jax.lax.while_loop(going, body, vary_along(axes, start))


def _measured(steps: Steps, s: Array) -> _Iterate:
    """An iterate with its residual."""
    norms = jnp.linalg.norm(steps.s - s, axis=-1)
    residual = jnp.where(steps.keys_hold, jnp.max(norms, axis=0), jnp.nan)
    scale = jnp.maximum(1, jnp.max(jnp.linalg.norm(s, axis=-1), axis=0))
    none, moves = jnp.zeros(residual.shape, jnp.int32), jnp.ones(residual.shape, bool)
    return _Iterate(s, steps.s, residual, scale, jnp.int32(0), none, moves, s, residual)


def _converged(net: Newton, now: _Iterate) -> Array:
    tolerance = net.tolerance
    if tolerance is None:
        tolerance = 100 * float(jnp.finfo(now.s.dtype).eps)
    return now.residual <= tolerance * now.scale


def _active(net: Newton, now: _Iterate) -> Array:
    """Whether another iteration may help, and is not a repetition of the last."""
    return now.moves & ~_converged(net, now)


def _by_loop(net: Newton, params: Params, problem: Problem, s: Array) -> Array:
    """The states, one after the other."""
    recurrence = net.recurrence

    def body(now: Any, x_t: Any) -> tuple[Any, Array]:
        new, _ = recurrence.one(params, problem, now, x_t)
        return new, recurrence.vector(new, recurrence.batch_ndim).astype(s.dtype)

    carry = final_carry(problem.carry)
    return jax.lax.scan(body, carry, problem.xs, reverse=recurrence.reverse)[1]


@states.defjvp
def _states_jvp(net: Newton, primals: Any, tangents: Any) -> Any:
    params, problem = primals
    recurrence = net.recurrence
    s, certificate = states(net, params, problem)

    def at(params: Params, problem: Problem) -> Array:
        return recurrence.steps(params, problem, s).s

    along = jax.jvp(at, primals, tangents)[1]
    if net.adjoint == "scan":
        blocks = recurrence.exact_blocks()
        J = recurrence.jacobian(blocks, params, problem, s)
        along = recurrence.in_blocks(blocks, along)
        ds = recurrence.from_blocks(blocks, recurrence.affine(J, along, problem.begins))
    else:
        ds = _push_by_loop(recurrence, params, problem, s, along)
    none: Any = np.zeros(certificate.residual.shape, jax.dtypes.float0)
    still = Certificate(jnp.zeros_like(certificate.residual), none, none)
    return (s, certificate), (ds, still)


def _push_by_loop(
    recurrence: Recurrence, params: Params, problem: Problem, s: Array, along: Array
) -> Array:
    """ds_t = J_t ds_{t-1} + along_t, step by step."""
    before = recurrence.before(params, problem, s)

    def body(ds: Array, step: Any) -> tuple[Array, Array]:
        now, x_t, along_t = step

        def at(vector: Array) -> Array:
            carry = recurrence.carry_of(vector, now, now)
            new = recurrence.one(params, problem, carry, x_t)[0]
            return recurrence.vector(new, recurrence.batch_ndim)

        here = recurrence.vector(now, recurrence.batch_ndim)
        ds = jax.jvp(at, (here,), (ds,))[1] + along_t
        return ds, ds

    zero = jnp.zeros_like(along[0])
    return jax.lax.scan(body, zero, (before, problem.xs, along), reverse=recurrence.reverse)[1]
