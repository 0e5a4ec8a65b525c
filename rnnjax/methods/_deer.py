"""`deer()`: any cell over all of time at once, by Newton's method on its states."""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple, cast

import jax
import jax.numpy as jnp

from rnnjax._calls import Value
from rnnjax._checks import (
    check_choice,
    check_flag,
    check_number,
    check_positive_int,
    is_inexact,
)
from rnnjax._execution import BaseGradient, Method, Run, Sequence, check_method
from rnnjax._params import check_params
from rnnjax._types import Array, Carry, Cell, Params, PyTree, known
from rnnjax.combinators import without_learned_carries
from rnnjax.gradients import run_of
from rnnjax.methods._associative import Associative, narrowed, widened
from rnnjax.methods._newton import Newton, in_full_precision, states
from rnnjax.methods._recurrence import Problem, Recurrence
from rnnjax.methods._unconverged import OTHERWISE, Otherwise
from rnnjax.running import Scan, leading_shape, mask, prepare, validate


@dataclass(frozen=True, repr=False)
class Deer(Value):
    """The value made by `deer()`."""

    quasi: bool = field(default=False, kw_only=True)
    damping: float = field(default=0.0, kw_only=True)
    tolerance: float | None = field(default=None, kw_only=True)
    max_iterations: int = field(default=100, kw_only=True)
    otherwise: Otherwise = field(default="raise", kw_only=True)
    carries: bool = field(default=False, kw_only=True)  # whether ys is (carries, ys)
    name: str = field(default="deer", init=False)

    def refusal(
        self, cell: Cell, base: BaseGradient | None, params: Params, sequence: Sequence
    ) -> str | None:
        structure = known(cell)
        if structure.layers:
            return "it runs the layers of a stack one by one"
        if not any(map(is_inexact, jax.tree.leaves(sequence.carry))):
            return "the carry has no real or complex leaf: there is nothing to solve for"
        if base is not None and base.clip is not None:
            return f"there is no loop in which δ_t could be clipped, as gradient={base} asks"
        if base is not None and base.name not in ("autodiff", "bptt"):
            return f"it cannot be differentiated by gradient={base}: its own derivative is exact"
        made_for = cell.structure.made_for
        replaced = cell.rule is not None and made_for is not None and made_for[1] != cell.rule
        if replaced and (base is None or base.name == "bptt"):
            return (
                "the rule of this cell was replaced, and its derivative is that of the step: pass "
                "gradient=rnnjax.autodiff() if that is what you want"
            )
        return None

    def bind(self, cell: Cell, base: BaseGradient | None, reverse: bool) -> Run:
        if known(cell).linear is not None:  # the first iteration, which is exact
            return Associative(carries=self.carries).bind(cell, base, reverse)

        def run(params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
            if any(x.size == 0 for x in jax.tree.leaves((sequence.xs, sequence.carry))):
                return run_of(cell, None, Scan(), reverse, self.carries)(params, sequence)
            with in_full_precision():
                found = _solved(self, self.otherwise, cell, reverse, params, sequence)
            last = jax.tree.map(lambda x: x[0 if reverse else -1], found.carries)
            return last, ((found.carries, found.ys) if self.carries else found.ys)

        return run


def deer(
    *,
    quasi: bool = False,
    damping: float = 0.0,
    tolerance: float | None = None,
    max_iterations: int = 100,
    otherwise: Otherwise = "raise",
) -> Method:
    """Run any cell over the whole sequence at once, by Newton's method on its states (DEER).

        r_t = f(s_{t-1}, x_t) - s_t,   δ_t = J_t δ_{t-1} + r_t,   s_t ← s_t + δ_t      for all t

    s_t is the carry as one vector of S real numbers, J_t = ∂f/∂s_{t-1}. Each iteration computes all
    steps and Jacobians side by side and one affine scan over time, log₂ T deep on a GPU or TPU.
    After k of them the first k steps are exact, so T always suffice; where nearby states converge
    (negative Lyapunov exponents, see `rnnjax.flow.predictability`) the number hardly grows with T.
    Where they diverge no damping helps, and `sequential()` is faster.

    A run is solved when ‖r_t‖₂ ≤ tolerance · max(‖s_t‖₂, min(1, max_t ‖s_t‖₂)) at every step, so
    relative to its own states however small they all are, which is tested on the states that are
    returned. `rnnjax.methods.solve` gives these residuals and the iterations. NaN
    and Inf in the states solve nothing.

    The whole Jacobian takes T·B·S² numbers and T·B·S³ operations an iteration. Cells whose units do
    not see each other (`Structure.mixing = ()`, such as `indrnn`) have one of T·B·S, used exactly;
    those linear in their carry need one iteration, which `associative()` runs; the layers of a
    stack are solved one by one. `quasi=True` keeps T·B·S numbers for any cell.

    The gradient is that of the solution, exact for every variant, from the whole Jacobian: by one
    affine scan backwards in time, or with `quasi=True` by a loop, which needs no T·B·S² numbers.
    Serves `autodiff()` and `bptt()` alike, and what wraps them. It can be transformed by all that
    JAX has, in any order. In a `vmap` the sequence that needs most iterations decides. Weights in
    bfloat16 and float16 are computed with in float32, and products are never rounded to TF32,
    whatever `jax.default_matmul_precision` says.

    `auto()` does not take it: on a CPU it loses, see docs/performance.md.

    Args:
      quasi: approximate J_t, in the search alone: by its diagonal, or for cells that say which
        weights join their units (`Structure.mixing`: `vanilla`, `lstm`, `gru`, …) by the blocks
        within units. More iterations, each cheaper. Other cells cost S tangents an iteration.
      damping: λ ≥ 0 of the first step, a Levenberg-Marquardt step in the place of Newton's, as in
        ELK; 0 for none. It fades to a tenth with each step and, below the rounding error, to none,
        so that what is said above of T steps holds after these. With quasi=True: quasi-ELK.
      tolerance: of the residual, see above; 100 times the rounding error of the dtype if None.
      max_iterations: at most as many iterations.
      otherwise: what happens if they do not suffice. "raise": a RuntimeError with the residual,
        from inside `jit` as well (there a `jax.errors.JaxRuntimeError`, which is one).
        "sequential": the states are computed step by step. "best": the nearest iterate is taken.
        Both warn (RuntimeWarning). Under `vmap` "sequential" always runs the loop too. The message
        comes from the host, so what `jax.export` writes cannot hold it, and refuses.

    Raises:
      TypeError, ValueError: options that are none; (in `unroll`) a carry that has no gradient, a
        gradient that clips inside the loop, or a rule that was replaced.
      RuntimeError: see `otherwise`.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jax.numpy.ones((50, 2, 3))
      >>> rnnjax.unroll(cell, params, xs, method=rnnjax.deer(quasi=True))[1].shape
      (50, 2, 4)

    References:
      Lim, Zhu, Selfridge & Kasim (2024), Parallelizing non-linear sequential models over the
      sequence length, ICLR (DEER).
      Gonzalez, Warrington, Smith & Linderman (2024), Towards scalable and stable parallelization of
      nonlinear RNNs, NeurIPS (quasi-DEER, ELK).
      Danieli et al. (2025), ParaRNN: unlocking parallel training of nonlinear RNNs for large
      language models, arXiv 2510.21450 (structured Jacobians).
    """
    if not 0 <= check_number("damping", damping) < float("inf"):
        raise ValueError(f"damping must be a finite number of at least 0, got {damping}")
    if tolerance is not None and not check_number("tolerance", tolerance) > 0:
        raise ValueError(f"tolerance must be positive, got {tolerance}")
    return Deer(
        quasi=check_flag("quasi", quasi),
        damping=float(damping),
        tolerance=None if tolerance is None else float(tolerance),
        max_iterations=check_positive_int("max_iterations", max_iterations),
        otherwise=cast(Otherwise, check_choice("otherwise", otherwise, OTHERWISE)),
    )


class Solution(NamedTuple):
    """What `solve` returns."""

    carries: Carry  # leaves [T, ..., *features]: the carry after every step
    ys: PyTree  # [T, ..., H]
    residual: Array  # [...] max_t ‖f(s_{t-1}, x_t) - s_t‖₂
    iterations: Array  # [...] int32
    converged: Array  # [...] bool


def solve(
    cell: Cell,
    params: Params,
    xs: PyTree,
    *,
    carry: Carry | None = None,
    key: Array | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    method: Method | None = None,
) -> Solution:
    """Run a sequence by `deer()`, and return how well it is solved: residuals and iterations.

    Nothing is raised, warned of or run step by step: without convergence the states are those of
    the iterate with the smallest residual, whatever `method` says of that case. A stack is solved
    as one, all layers together.

    Args:
      cell, params, xs: as for `rnnjax.unroll`, T ≥ 1.
      carry, key, lengths, resets, reverse: as for `rnnjax.unroll`.
      method: a `deer(...)`; the default one if None.

    Returns:
      A `Solution`: carries and outputs as of `unroll`, and for each sequence of the batch [...] its
      residual, the iterations that it took and whether they sufficed.

    Raises:
      TypeError: a method that is not a `deer(...)`; and as `rnnjax.unroll`.
      ValueError: T = 0, and as `rnnjax.unroll`.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.vanilla(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> found = rnnjax.methods.solve(cell, params, jax.numpy.ones((100, 3)))
      >>> bool(found.converged), int(found.iterations) < 20, float(found.residual) < 1e-4
      (True, True, True)
    """
    method = check_method("method", deer() if method is None else method)
    if not isinstance(method, Deer):
        raise TypeError(f"method must be rnnjax.deer(...), got {method}")
    params = check_params(cell, params)
    sequence = validate(cell, params, xs, carry, key, lengths, resets)
    cell, params = without_learned_carries(cell, params)
    reverse = check_flag("reverse", reverse)
    if any(jnp.size(x) == 0 for x in jax.tree.leaves((sequence.xs, sequence.carry))):
        raise ValueError("there is nothing to solve: xs has no steps, examples or features")
    reason = None if known(cell).layers else method.refusal(cell, None, params, sequence)
    if reason:
        raise ValueError(reason)
    return _solve(cell, method, reverse, params, sequence)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _solve(cell: Cell, method: Deer, reverse: bool, params: Params, sequence: Sequence) -> Solution:
    with in_full_precision():
        return _solved(method, "tell", cell, reverse, params, sequence)


def _solved(
    method: Deer,
    otherwise: Otherwise | Literal["tell"],
    cell: Cell,
    reverse: bool,
    params: Params,
    sequence: Sequence,
) -> Solution:
    batch_ndim = len(leading_shape(cell, params, sequence.xs, sequence.lengths)[1])
    xs, _, begins = mask(params, sequence, reverse)
    x_t = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), xs)
    carry, y_t = jax.eval_shape(cell.step, params, sequence.carry, x_t)
    params, sequence = widened((params, sequence))
    ready, start, xs = prepare(cell, params, sequence, reverse)
    recurrence = _recurrence(cell, ready, reverse, sequence.carry, batch_ndim)
    net = Newton(
        recurrence,
        method.quasi,
        method.damping,
        method.tolerance,
        method.max_iterations,
        otherwise,
        "loop" if method.quasi and recurrence.exact_blocks() == "dense" else "scan",
    )
    problem = Problem(start, xs, begins)
    s, certificate = states(net, params, problem)
    made = recurrence.steps(params, problem, s)
    return Solution(
        narrowed(made.carries, carry),
        narrowed(made.ys, y_t),
        certificate.residual,
        certificate.iterations.astype(jnp.int32),
        certificate.converged.astype(bool),
    )


def _recurrence(
    cell: Cell, ready: Cell, reverse: bool, carry: Carry, batch_ndim: int
) -> Recurrence:
    """The prepared cell, and what its Jacobian looks like."""
    leaves = [x for x in jax.tree.leaves(carry) if is_inexact(x)]
    features = {x.shape[batch_ndim:] for x in leaves}
    mixing = known(cell).mixing
    is_real = not any(map(jnp.iscomplexobj, leaves))
    sizes = features.pop()
    alike = not features and len(sizes) == 1 and (is_real or mixing == ())
    return Recurrence(ready, reverse, batch_ndim, sizes[0] if alike else 0, mixing)
