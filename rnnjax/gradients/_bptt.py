"""Backpropagation through time by each cell's hand-derived rule: one driver for all of them."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax

from rnnjax._arrays import Static, put_arrays, register_value, take_arrays
from rnnjax._calls import Value
from rnnjax._checks import check_callable
from rnnjax._execution import BaseGradient, Loop, Run
from rnnjax._guard import keeps_type
from rnnjax._linear_map import Saved, linear_map
from rnnjax._types import Array, Carry, Cell, Clip, Params, PyTree, Rule, Step
from rnnjax.gradients._rules import checked_rule
from rnnjax.running import vary_along, varying_axes

Limits = tuple[Array | None, ...]  # those of the clip that are traced


def _no_clip(delta: Array) -> Array:
    return delta


@dataclass(frozen=True, repr=False)
class BPTT(Value):
    """The value made by `bptt()`."""

    clip: Clip | None = field(default=None, kw_only=True)
    name: str = field(default="bptt", init=False)

    @property
    def base(self) -> "BPTT":
        return self

    def wrap(self, run: Run, reverse: bool) -> Run:
        return run

    def refusal(self, cell: Cell) -> str | None:
        if cell.rule is not None:
            return None
        return (
            "gradient=bptt() needs a cell with a hand-derived rule and this one has rule=None: use "
            "gradient=autodiff(), or give the cell a rule and validate it with "
            "rnnjax.gradients.check(cell)"
        )

    def loop(
        self, cell: Cell, loop: Loop, params: Params, carry: Carry, xs: PyTree, reverse: bool
    ) -> tuple[Carry, PyTree]:
        if cell.rule is None:
            raise ValueError(self.refusal(cell))
        clip, limits = take_arrays(self.clip or _no_clip)
        unfolded = _Unfolded(cell.step, checked_rule(cell.rule), loop, clip, reverse)
        return _unfold(unfolded, params, carry, xs, limits)


register_value(BPTT, ("clip",))


def bptt(clip: Clip | None = None) -> BaseGradient:
    """Differentiate by the cell's hand-derived rule (Rumelhart et al. 1986; Werbos 1990).

    The forward loop saves each step's tape; one reverse loop carries ∂C/∂carry_t and emits
    δ_t = ∂C/∂z_t; the weights' gradients follow as one contraction over time and batch. Equal
    to `autodiff()` up to rounding, usually faster, and with less saved: each cell's tape says
    what (for the LSTM 6H numbers a step and example, for the GRU 5H, for the vanilla cell 2H,
    for the identity cell nothing).

    Every transformation works, in any order. Cotangents (`grad`, `vjp`, `jacrev`) go through the
    rule, tangents (`jvp`, `jacfwd`, `linearize`) through the step, as under `autodiff()`; with a
    clip, which has no forward mode, the latter raise TypeError.

    Args:
      clip: what to do to δ_t inside the loop, before it is multiplied by the recurrent weights:
        `clip_by_value(limit)`, `clip_by_norm(limit)` or any hashable function of δ_t [..., G] that
        keeps its shape and dtype.
        The result is then no longer the gradient of the cost. Clipping the summed gradient is
        optax's (`optax.clip_by_global_norm`).

    Raises:
      ValueError: (in `unroll`) the cell has no rule, or the clip returns another shape or dtype.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.lstm(2)
      >>> params, xs = cell.init(jax.random.key(0), 1), jax.numpy.ones((4, 1))
      >>> clipped = rnnjax.bptt(clip=rnnjax.gradients.clip_by_value(1.0))
      >>> def cost(params):
      ...     return rnnjax.unroll(cell, params, xs, gradient=clipped)[0].h.sum()
      >>> jax.grad(cost)(params).w_h.shape
      (2, 8)

    References:
      Werbos (1990), Backpropagation through time: what it does and how to do it, Proc. IEEE 78.
      Graves (2013), arXiv 1308.0850, for clipping inside the loop.
    """
    if isinstance(clip, int | float):
        raise TypeError(
            f"clip must be a function of δ_t, such as clip_by_value({clip}), got {clip}"
        )
    return BPTT(clip=None if clip is None else check_callable("clip", clip, "(delta) -> delta"))


@dataclass(frozen=True)
class _Unfolded:
    """All that is not an array: which cell to run, and how."""

    step: Step
    rule: Rule
    loop: Loop
    clip: Static  # without what is traced
    reverse: bool


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _unfold(
    net: _Unfolded, params: Params, carry: Carry, xs: PyTree, limits: Limits
) -> tuple[Carry, Any]:
    if not net.loop.hoist:
        return net.loop.scan(partial(net.step, params), carry, xs, net.reverse)

    def body(carry: Carry, z_t: PyTree) -> tuple[Carry, PyTree]:
        return net.rule.forward(params, carry, z_t)[0]

    return net.loop.scan(body, carry, net.rule.project(params, xs), net.reverse)


@partial(_unfold.defjvp, symbolic_zeros=True)
def _unfold_jvp(net: _Unfolded, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
    params, carry, xs, _ = primals
    out, saved = _unfold_forward(net, *primals)
    residuals, along = ((params, carry, xs), saved), tangents[:3]
    forward, backward = (partial(f, net) for f in (_unfold_tangents, _unfold_backward))
    return out, linear_map(forward, backward, residuals, along, out, axes=_AXES)


_POINT, _OUT = (None, 0, 1), (0, 1)  # params, carry, xs [T, ...]; carry, ys [T, ...]
_AXES = ((_POINT, (None, 1, Saved(1), None)), _POINT, _OUT)  # where a batch axis goes


def _unfold_tangents(net: _Unfolded, residuals: Any, tangents: Any) -> Any:
    """Forward mode: by the step itself."""
    if net.clip != take_arrays(_no_clip)[0]:
        raise TypeError(
            "gradient=bptt(clip=...) clips δ_t on its way back, so it has no forward mode: use "
            "bptt() or autodiff() under jvp, jacfwd and linearize"
        )

    def run(params: Params, carry: Carry, xs: PyTree) -> tuple[Carry, Any]:
        return net.loop.scan(partial(net.step, params), carry, xs, net.reverse)

    return jax.jvp(run, residuals[0], tangents)[1]


def _unfold_forward(
    net: _Unfolded, params: Params, carry: Carry, xs: PyTree, limits: Limits
) -> tuple[Any, Any]:
    project = partial(net.rule.project, params)
    inputs = project(xs) if net.loop.hoist else xs

    def body(carry: Carry, input_t: PyTree) -> tuple[Carry, Any]:
        z_t = input_t if net.loop.hoist else project(input_t)
        (carry, y_t), tape_t = net.rule.forward(params, carry, z_t)
        return carry, (y_t, tape_t)

    carry, (ys, tapes) = net.loop.scan(body, carry, inputs, net.reverse)
    return (carry, ys), (params, xs, tapes, limits)


def _unfold_backward(net: _Unfolded, residuals: Any, cotangents: Any) -> tuple[Any, ...]:
    params, xs, tapes, limits = residuals[1]
    clip = keeps_type(put_arrays(net.clip, limits))
    carry_ct, ys_ct = cotangents

    def body(carry_ct: Carry, tape_and_ct: Any) -> tuple[Carry, PyTree]:
        tape_t, y_ct = tape_and_ct
        return net.rule.backward(params, tape_t, carry_ct, y_ct, clip)

    carry_ct, deltas = net.loop.scan(body, carry_ct, (tapes, ys_ct), not net.reverse)
    params_ct, xs_ct = net.rule.gradients(params, xs, tapes, deltas)
    return vary_along(varying_axes(cotangents), (params_ct, carry_ct, xs_ct))
