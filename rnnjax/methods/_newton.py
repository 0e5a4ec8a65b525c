"""Newton's method on all states of a recurrence at once, and its exact derivative.

    r_t = f(s_{t-1}, x_t) - s_t,     δ_t = J_t δ_{t-1} + r_t,     s_t ← s_t + δ_t

A step of the method is one affine scan over time. With the whole Jacobian J_t = ∂f/∂s_{t-1} it is
Newton's, and whatever stands for J_t, after k of them the first k steps are exact: δ is zero up to
the first step whose residual is not, and gives that step what f gives. An iterate that has gone
astray may be replaced by any guess that keeps these, since the residual alone decides.

The derivative is that of the solution (the implicit function theorem), not of the iteration:

    ds_t = J_t ds_{t-1} + ∂f/∂θ dθ

with the whole J_t: a scan of the same kind, or a loop, whose transpose goes backwards in time.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Params
from rnnjax.methods._kept import kept
from rnnjax.methods._levenberg_marquardt import damped
from rnnjax.methods._recurrence import Problem, Recurrence, Steps, affine_scan
from rnnjax.methods._unconverged import Otherwise, report
from rnnjax.running import final_carry, vary_along, varying_axes


def in_full_precision() -> Any:
    """Where products are taken in float32, not in TF32, which JAX takes on GPUs by default.

    TF32 is wrong from the fourth digit on, and jumps, so that no residual would fall below that.
    """
    return jax.default_matmul_precision("highest")


class Certificate(NamedTuple):
    """How well each sequence of the batch [...] is solved; numbers of the states' dtype."""

    residual: Array  # max_t ‖f(s_{t-1}, x_t) - s_t‖₂
    iterations: Array
    converged: Array  # 1 if it is, else 0


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
    residual: Array  # [...] max_t ‖r_t‖₂
    error: Array  # [...] max_t ‖r_t‖₂ / max(‖s_t‖₂, min(1, max_t ‖s_t‖₂))
    rounds: Array  # int32: how many iterations ran
    iterations: Array  # [...] int32: those that the sequence needed so far
    moves: Array  # [...] bool: whether the last iteration changed anything
    best: Array  # [T, ..., S] that of the smallest error so far
    best_residual: Array  # [...]
    best_error: Array  # [...]


def states(net: Newton, params: Params, problem: Problem) -> tuple[Array, Certificate]:
    """The states [T, ..., S] and their certificate."""
    return kept(partial(_solve, net), partial(_tangents, net), params, problem)


def _solve(net: Newton, params: Params, problem: Problem) -> tuple[Array, Certificate]:
    found = _iterate(net, params, problem)
    converged = _converged(net, found)
    numbers = (found.best_residual, found.iterations, converged)
    certificate = Certificate(*(x.astype(found.s.dtype) for x in numbers))
    if net.otherwise == "tell":
        return found.best, certificate
    solved = jnp.all(converged)
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
        step = _step(net, J, r, now.rounds, problem.begins)
        s = now.s + recurrence.from_blocks(blocks, step)
        # What overflows is guessed anew; that it solves nothing is for the residual to say.
        s = jnp.where(jnp.isfinite(s), s, now.to)
        active = _active(net, now)
        s = jnp.where(active[None, ..., None], s, now.s)
        made = _measured(recurrence.steps(params, problem, s), s)
        # Where that was too far, not beyond what any step gives: exact steps are within it.
        far = active & ~(made.error < now.error)
        near = jnp.where(far[None, ..., None], _within_reach(s, now.to), s)
        made = jax.lax.cond(
            jnp.any(far),
            lambda: _measured(recurrence.steps(params, problem, near), near),
            lambda: made,
        )
        is_better = (made.error < now.best_error) | jnp.isnan(now.best_error)
        return made._replace(
            rounds=now.rounds + 1,
            iterations=now.iterations + active.astype(jnp.int32),
            moves=jnp.any(_differ(made.s, now.s), axis=(0, -1)),
            best=jnp.where(is_better[None, ..., None], made.s, now.best),
            best_residual=jnp.where(is_better, made.residual, now.best_residual),
            best_error=jnp.where(is_better, made.error, now.best_error),
        )

    first = recurrence.first(problem)
    steps = jax.tree.leaves(problem.xs)[0].shape[0]
    guess = recurrence.steps(params, problem, jnp.broadcast_to(first, (steps, *first.shape))).s
    start = _measured(recurrence.steps(params, problem, guess), guess)
    return jax.lax.while_loop(going, body, vary_along(axes, start))


def _step(net: Newton, J: Array, r: Array, rounds: Array, begins: Array | None) -> Array:
    """δ of one iteration, in blocks; damped while the damping is above the rounding error."""
    reverse = net.recurrence.reverse
    if not net.damping:
        return affine_scan(J, r, begins, reverse)
    damping = net.damping * 0.1 ** rounds.astype(r.dtype)
    return jax.lax.cond(
        damping > float(jnp.finfo(r.dtype).eps),
        lambda: damped(J, r, damping, begins, reverse),
        lambda: affine_scan(J, r, begins, reverse),
    )


def _measured(steps: Steps, s: Array) -> _Iterate:
    """An iterate with its residual."""
    norms = jnp.where(steps.keys_hold, jnp.linalg.norm(steps.s - s, axis=-1), jnp.nan)
    # Step by step: beside a state that has blown up, any residual is small.
    sizes = jnp.linalg.norm(s, axis=-1)
    scale = jnp.clip(jnp.max(sizes, axis=0, keepdims=True), jnp.finfo(s.dtype).tiny, 1)
    error = jnp.max(norms / jnp.maximum(scale, sizes), axis=0)
    residual = jnp.max(norms, axis=0)
    none, moves = jnp.zeros(residual.shape, jnp.int32), jnp.ones(residual.shape, bool)
    return _Iterate(s, steps.s, residual, error, jnp.int32(0), none, moves, s, residual, error)


def _converged(net: Newton, now: _Iterate) -> Array:
    tolerance = net.tolerance
    if tolerance is None:
        tolerance = 100 * float(jnp.finfo(now.s.dtype).eps)
    return now.error <= tolerance


def _within_reach(s: Array, to: Array) -> Array:
    """s, clipped to the least and the largest finite entries that any step gives."""
    options: Any = {"axis": 0, "keepdims": True, "where": jnp.isfinite(to)}
    least = jnp.min(to, initial=jnp.inf, **options)
    return jnp.clip(s, least, jnp.max(to, initial=-jnp.inf, **options))


def _differ(a: Array, b: Array) -> Array:
    return (a != b) & ~(jnp.isnan(a) & jnp.isnan(b))


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


def _tangents(net: Newton, out: tuple[Array, Certificate], primals: Any, tangents: Any) -> Any:
    with in_full_precision():  # it is traced when it is asked for, outside of what it is of
        ds = _push(net, out[0], primals, tangents)
    return ds, jax.tree.map(jnp.zeros_like, out[1])


def _push(net: Newton, s: Array, primals: Any, tangents: Any) -> Array:
    params, problem = primals
    recurrence = net.recurrence

    def at(params: Params, problem: Problem) -> Array:
        return recurrence.steps(params, problem, s).s

    along = jax.jvp(at, primals, tangents)[1]
    if net.adjoint == "loop":
        return _push_by_loop(recurrence, params, problem, s, along)
    blocks = recurrence.exact_blocks()
    J = recurrence.jacobian(blocks, params, problem, s)
    along = recurrence.in_blocks(blocks, along)
    ds = affine_scan(J, along, problem.begins, recurrence.reverse)
    return recurrence.from_blocks(blocks, ds)


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

    zero = vary_along(varying_axes((params, problem, along)), jnp.zeros_like(along[0]))
    return jax.lax.scan(body, zero, (before, problem.xs, along), reverse=recurrence.reverse)[1]
