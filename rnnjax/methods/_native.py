"""`native()`: compiled CPU kernels that run a whole sequence in one call, forward and backward."""

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._execution import BaseGradient, Method, Run, Sequence
from rnnjax._reverse_only import reverse_only
from rnnjax._types import Array, Carry, Cell, Params, PyTree, known
from rnnjax.cells.linear_algebra import check_features, sum_bias
from rnnjax.gradients import bptt
from rnnjax.methods._native_calls import (
    Cotangents,
    Flags,
    Inputs,
    Spec,
    State,
    Tape,
    Weights,
    backward,
    compiled_cells,
    forward,
    input_gradients,
    weight_gradients,
    why_not,
)
from rnnjax.running import final_carry, mask, prepare

_KERNEL_OF_FORM: dict[Hashable, str] = {
    ("vanilla", "tanh"): "vanilla_tanh",
    ("vanilla", "relu"): "vanilla_relu",
    "lstm": "lstm",
    "peephole_lstm": "peephole_lstm",
    "lstm_1997": "lstm_1997",
    ("gru", "after"): "gru",
}
"""The kernel that computes each textbook form of a cell, by `Structure.form`."""


@dataclass(frozen=True)
class Native:
    """The value made by `native()`."""

    name: str = field(default="native", init=False, repr=False)

    def refusal(
        self, cell: Cell, base: BaseGradient | None, params: Params, sequence: Sequence
    ) -> str | None:
        missing = why_not()
        if missing is not None:
            return missing
        if base is not None and base.clip is not None:
            return "its kernels do not clip δ_t inside the loop, as bptt(clip=...) asks"
        if base not in (None, bptt()):
            return (
                f"it cannot be differentiated by gradient={base}: its kernels run the hand-derived "
                "rule, as bptt() does"
            )
        dtypes = {jnp.result_type(leaf) for leaf in jax.tree.leaves(params)}
        if len(dtypes) != 1 or not dtypes <= {jnp.dtype("float32"), jnp.dtype("float64")}:
            found = ", ".join(sorted(map(str, dtypes)))
            return f"its kernels are for float32 or float64 weights, and these are {found}"
        if _kernel(cell) not in compiled_cells():
            return (
                "there is no kernel for this cell: there is one for each of "
                f"{', '.join(compiled_cells())}, and for stacks of these (gru only with "
                "reset='after', lstm_1997 only with truncate=False)"
            )
        return None

    def bind(self, cell: Cell, base: BaseGradient | None, reverse: bool) -> Run:
        def run(params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
            arrays, flags = reverse_only((params, sequence[:3])), sequence[3:]
            return _unroll(cell, reverse, *arrays, flags)

        return run


def native() -> Method:
    """Run the whole sequence in fused compiled kernels on the CPU, forward and backward.

    For `lstm`, `lstm_1997`, `peephole_lstm`, `gru` with the reset after the product, `vanilla` with
    tanh or relu, and stacks of these, in float32 and float64. The weights are packed once per call,
    the gates are computed while the matrix product is still in cache, and the batch or the hidden
    units are divided among XLA's threads. Outputs and gradients are those of `sequential()` up to
    rounding.

    It can be transformed by `jit`, `grad`, `scan` and `vmap`, and by `shard_map` with
    check_vma=False. A `vmap` over data is folded into the batch, one over params runs the kernels
    in a loop. Higher derivatives are computed by `lax.scan`. Forward mode (`jvp`, `jacfwd`) raises
    TypeError, as for `bptt()`. Compiled code is specific to this machine: use `sequential()` for
    what `jax.export` is to write to a file or to lower for another platform.

    Raises:
      ValueError: (in `unroll`) the kernels were not compiled when rnnjax was installed
        (`rnnjax doctor` says why), or there is no kernel for this cell, dtype or gradient.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.lstm(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> fast = rnnjax.native() if rnnjax.methods.AVAILABILITY["native"]() is None else None
      >>> rnnjax.unroll(cell, params, jax.numpy.ones((5, 2, 3)), method=fast)[1].shape
      (5, 2, 4)

    References:
      Goto & van de Geijn (2008), Anatomy of high-performance matrix multiplication, ACM TOMS 34.
    """
    return Native()


# Differentiable in params and arrays = (xs, carry, fresh), not in flags = (lengths, resets).
@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _unroll(
    cell: Cell, reverse: bool, params: Params, arrays: Any, flags: Any
) -> tuple[Carry, Array]:
    carry, ys, _ = _forward(cell, reverse, False, params, arrays, flags)
    return carry, ys


def _unroll_forward(cell: Cell, reverse: bool, params: Params, arrays: Any, flags: Any):
    carry, ys, tape = _forward(cell, reverse, True, params, arrays, flags)
    return (carry, ys), (params, arrays, flags, tape)


def _unroll_backward(cell: Cell, reverse: bool, saved: Any, cotangents: Any):
    params, arrays, flags, tape = saved
    return *_backward(cell, reverse, params, arrays, flags, tape, cotangents), (None, None)


_unroll.defvjp(_unroll_forward, _unroll_backward)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _forward(cell: Cell, reverse: bool, save: bool, params: Params, arrays: Any, flags: Any):
    inputs = _inputs(cell, reverse, params, arrays, flags)
    state, ys, tape = forward(_spec(cell, reverse), save, Weights(*params), inputs)
    batch = arrays[0].shape[1:-1]
    return _carry(arrays[1], state, batch), ys.reshape(ys.shape[0], *batch, ys.shape[-1]), tape


@_forward.defjvp
def _forward_jvp(cell: Cell, reverse: bool, save: bool, primals: Any, tangents: Any):
    params, arrays, flags = primals
    out = _forward(cell, reverse, save, *primals)
    portable = partial(_portable, cell, reverse, flags)
    _, (carry_t, ys_t) = jax.jvp(portable, (params, arrays), tangents[:2])
    # The tape's tangent is never read: `_backward_jvp` differentiates `_portable` instead.
    return out, (carry_t, ys_t, jax.tree.map(jnp.zeros_like, out[2]))


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _backward(
    cell: Cell, reverse: bool, params: Params, arrays: Any, flags: Any, tape: Tape, cotangents: Any
):
    """∂C/∂params and ∂C/∂arrays."""
    inputs = _inputs(cell, reverse, params, arrays, flags)
    spec, weights = _spec(cell, reverse), Weights(*params)
    carry_ct, ys_ct = cotangents
    batch = arrays[0].shape[1:-1]
    given = Cotangents(_flat(ys_ct, 1, batch), _state(carry_ct, batch))
    errors = backward(spec, weights, tape, given, inputs.flags)
    xs, h_tm1, delta = (_rows(x) for x in (inputs.xs, tape.h_tm1, errors.delta))
    weights_ct = weight_gradients(spec, xs, h_tm1, delta)
    if weights.extra is not None:
        weights_ct = (*weights_ct, sum_bias(errors.extra))
    xs_ct = input_gradients(spec, weights.w_x, delta)
    fresh_ct = jax.tree.map(jnp.zeros_like, arrays[2])
    if errors.fresh is not None:
        fresh_ct = _carry(arrays[2], errors.fresh, batch)
    params_ct = type(params)(*weights_ct)
    xs_ct = xs_ct.reshape(arrays[0].shape).astype(arrays[0].dtype)
    return params_ct, (xs_ct, _carry(arrays[1], errors.carry, batch), fresh_ct)


@_backward.defjvp
def _backward_jvp(cell: Cell, reverse: bool, primals: Any, tangents: Any):
    params, arrays, flags, _, cotangents = primals

    def pull_back(params: Params, arrays: Any, cotangents: Any):
        return jax.vjp(partial(_portable, cell, reverse, flags), params, arrays)[1](cotangents)

    given = (params, arrays, cotangents)
    along = (tangents[0], tangents[1], tangents[4])
    return _backward(cell, reverse, *primals), jax.jvp(pull_back, given, along)[1]


def _portable(
    cell: Cell, reverse: bool, flags: Any, params: Params, arrays: Any
) -> tuple[Carry, PyTree]:
    """The same run by `lax.scan`: what higher derivatives differentiate."""
    ready, carry, xs = prepare(cell, params, Sequence(*arrays, *flags), reverse)
    carry, ys = jax.lax.scan(partial(ready.step, params), carry, xs, reverse=reverse)
    return final_carry(carry), ys


def _kernel(cell: Cell) -> str:
    return _KERNEL_OF_FORM.get(known(cell).form, "")


def _spec(cell: Cell, reverse: bool) -> Spec:
    return Spec(compiled_cells()[_kernel(cell)], reverse)


def _flat(x: Array, axis: int, batch: tuple[int, ...]) -> Array:
    """Merge the batch axes, which start at `axis`: [..., *batch, ...] -> [..., B, ...]."""
    return x.reshape(*x.shape[:axis], math.prod(batch), *x.shape[axis + len(batch) :])


def _rows(x: Array) -> Array:
    """[T, B, ...] -> [T B, ...]"""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])


def _state(carry: Carry, batch: tuple[int, ...]) -> State:
    c = getattr(carry, "c", None)
    return State(_flat(carry.h, 0, batch), None if c is None else _flat(c, 0, batch))


def _carry(like: Carry, state: State, batch: tuple[int, ...]) -> Carry:
    leaves = (leaf.reshape(*batch, leaf.shape[-1]) for leaf in state if leaf is not None)
    return type(like)(*leaves)


def _inputs(cell: Cell, reverse: bool, params: Params, arrays: Any, flags: Any) -> Inputs:
    xs, carry, fresh = arrays
    check_features(xs, params.w_x)
    masked = mask(params, Sequence(*arrays, *flags), reverse)
    batch = xs.shape[1:-1]
    lengths = None if flags[0] is None else _flat(flags[0], 0, batch)
    begins = None if masked.begins is None else _flat(masked.begins, 1, batch)
    restart = None if begins is None else _state(fresh, batch)
    return Inputs(_flat(masked.xs, 1, batch), _state(carry, batch), restart, Flags(lengths, begins))
