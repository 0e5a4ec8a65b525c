"""Backpropagation through time that runs the cell backwards in place of storing its states."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._arrays import register_value
from rnnjax._calls import Value
from rnnjax._checks import check_number
from rnnjax._execution import BaseGradient, Loop, Run
from rnnjax._leaves import differentiable
from rnnjax._linear_map import linear_map
from rnnjax._types import Array, Carry, Cell, Inverse, Params, PyTree, Rule, Step, known
from rnnjax.gradients._pull_back import in_dtype_of, vjp
from rnnjax.gradients._rules import checked_rule
from rnnjax.running import RestartCarry, in_float32, vary_along, varying_axes


@dataclass(frozen=True, repr=False)
class Reversible(Value):
    """The value made by `reversible()`."""

    tolerance: float = 1e-3
    name: str = field(default="reversible", init=False)
    clip: None = field(default=None, init=False)

    @property
    def base(self) -> "Reversible":
        return self

    def wrap(self, run: Run, reverse: bool) -> Run:
        return run

    def refusal(self, cell: Cell) -> str | None:
        if known(cell).inverse is not None:
            return None
        return (
            "gradient=reversible() runs a cell backwards in time, and this one has no inverse step "
            "(Structure.inverse), as unicornn has and what stack and residual make of it: use "
            "gradient=checkpointed(), which stores few states of any cell"
        )

    def loop(
        self, cell: Cell, loop: Loop, params: Params, carry: Carry, xs: PyTree, reverse: bool
    ) -> tuple[Carry, PyTree]:
        inverse = known(cell).inverse
        if inverse is None:
            if isinstance(carry, RestartCarry):
                raise ValueError(
                    "gradient=reversible() cannot run backwards over resets=: the state that a new "
                    "episode replaces is lost. Use gradient=checkpointed(), or unroll the episodes "
                    "one by one"
                )
            raise ValueError(self.refusal(cell))
        rule = None if cell.rule is None else checked_rule(cell.rule)
        net = _Net(cell.step, rule, inverse, loop, reverse, self.tolerance)
        return _run(net, params, carry, xs)


register_value(Reversible, ())


def reversible(tolerance: float = 1e-3) -> BaseGradient:
    """Differentiate in memory that does not grow with T, by running the cell backwards in time.

        carry_{t-1} = inverse(params, carry_t, x_t)        t = T … 1

    For a cell with an inverse step (`Structure.inverse`): `unicornn`, and what `stack` and
    `residual` make of it. The forward pass stores nothing but the last carry; the backward pass
    reconstructs each state from the one after it, runs the step again, by the cell's rule if it has
    one, and adds to the weights' gradients. Beside xs and ys, and their cotangents, it takes the
    memory of two carries and of params.

    Each inverse step rounds, so the reconstructed states drift from those that were, faster where
    small differences grow: the cell decides over how many steps it can be used. The drift is
    measured in every backward pass, at the first carry, which is known: where it exceeds the
    tolerance, the gradient is NaN, not wrong. `checkpointed(k, reversible())` begins anew every k
    steps. Measured by `python -m benchmarks reversible`:

        unicornn(64), float32, relative to the largest entry
        Δt      α         T    first carry    gradient
        0.1     0       100          2e-07       1e-06
                      1,000          2e-07       1e-06
                     10,000          1e-04       2e-03
                    100,000          2e-01         NaN
        0.1     1    10,000          2e-05       2e-05
                    100,000          9e-01         NaN
        0.19 30.65   10,000          4e-06       1e-05
                    100,000          3e-02         NaN

    With `lengths` the padding is run over unchanged. `resets` are refused: what they overwrite
    cannot be reconstructed. Every transformation works, as under `bptt()`.

    Args:
      tolerance: the largest distance of the reconstructed first carry from the one that was, in
        units of the largest |entry| of the first and last carries; beyond it gradients are NaN.

    Raises:
      TypeError, ValueError: tolerance is not a number of at least 0; (in `unroll`) the cell has no
        inverse, or there are resets.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.unicornn(2)
      >>> params, xs = cell.init(jax.random.key(0), 1), jax.numpy.ones((9, 1))
      >>> def cost(params):
      ...     return rnnjax.unroll(cell, params, xs, gradient=rnnjax.reversible())[0].y.sum()
      >>> jax.grad(cost)(params).u.shape
      (2,)

    References:
      Rusch & Mishra (2021), UnICORNN: A recurrent model for learning very long time dependencies,
      ICML.
      MacKay, Vicol, Ba & Grosse (2018), Reversible recurrent neural networks, NeurIPS.
    """
    if not check_number("tolerance", tolerance) >= 0:
        raise ValueError(f"tolerance must be at least 0, got {tolerance}")
    return Reversible(float(tolerance))


@dataclass(frozen=True)
class _Net:
    """All that is not an array: which cell to run, and how."""

    step: Step
    rule: Rule | None
    inverse: Inverse
    loop: Loop
    reverse: bool
    tolerance: float


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _run(net: _Net, params: Params, carry: Carry, xs: PyTree) -> tuple[Carry, PyTree]:
    return net.loop.scan(partial(net.step, params), carry, xs, net.reverse)


@partial(_run.defjvp, symbolic_zeros=True)
def _run_jvp(net: _Net, primals: Any, tangents: Any) -> Any:
    last, ys = _run(net, *primals)
    forward, backward = (partial(f, net) for f in (_tangents, _backward))
    return (last, ys), linear_map(forward, backward, (primals, last), tangents, (last, ys))


def _tangents(net: _Net, residuals: Any, tangents: Any) -> Any:
    def run(params: Params, carry: Carry, xs: PyTree) -> tuple[Carry, PyTree]:
        return net.loop.scan(partial(net.step, params), carry, xs, net.reverse)

    return jax.jvp(run, residuals[0], tangents)[1]


def _backward(net: _Net, residuals: Any, cotangents: Any) -> tuple[Any, ...]:
    (params, first, xs), last = residuals
    carry_ct, ys_ct = cotangents
    wide, narrow = in_float32(params)
    step_ct = _by_step if net.rule is None else partial(_by_rule, net.rule)

    def body(state: Any, x_and_ct: Any) -> tuple[Any, PyTree]:
        carry, carry_ct, total = state
        x_t, y_ct = x_and_ct
        before = net.inverse(narrow(wide), carry, x_t)
        params_ct, carry_ct, x_ct = step_ct(net.step, narrow(wide), before, x_t, (carry_ct, y_ct))
        total = jax.tree.map(jnp.add, total, in_dtype_of(total, params_ct))
        return (before, carry_ct, total), x_ct

    zeros = jax.tree.map(jnp.zeros_like, differentiable(wide))
    zeros = vary_along(varying_axes((cotangents, params, xs)), zeros)
    state = (last, carry_ct, zeros)
    (found, carry_ct, total), xs_ct = net.loop.scan(body, state, (xs, ys_ct), not net.reverse)
    right = _distance(found, first) <= net.tolerance * jnp.maximum(_size(first), _size(last))
    cts = (in_dtype_of(params, total), carry_ct, xs_ct)
    return jax.tree.map(lambda ct: jnp.where(right, ct, jnp.asarray(jnp.nan, ct.dtype)), cts)


def _distance(a: Carry, b: Carry) -> Array:
    return _size(jax.tree.map(jnp.subtract, differentiable(a), differentiable(b)))


def _size(tree: PyTree) -> Array:
    """The largest |entry|."""
    leaves = jax.tree.leaves(differentiable(tree))
    return jnp.max(jnp.stack([jnp.max(jnp.abs(x), initial=0.0).astype(float) for x in leaves]))


def _by_step(step: Step, params: Params, carry: Carry, x_t: PyTree, cotangents: Any) -> Any:
    return vjp(step, params, carry, x_t)[1](cotangents)


def _by_rule(
    rule: Rule, step: Step, params: Params, carry: Carry, x_t: PyTree, cotangents: Any
) -> Any:
    del step
    _, tape = rule.forward(params, carry, rule.project(params, x_t))
    new_ct, y_ct = cotangents
    carry_ct, delta = rule.backward(params, tape, new_ct, y_ct, lambda delta: delta)
    one = jax.tree.map(lambda leaf: leaf[None], (x_t, tape, delta))
    params_ct, xs_ct = rule.gradients(params, *one)
    return params_ct, carry_ct, jax.tree.map(lambda leaf: leaf[0], xs_ct)
