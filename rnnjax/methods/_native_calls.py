"""The compiled kernels as JAX functions, each with its `vmap` rule.

Optional arrays are None here and are passed to the kernels with no elements.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry
from rnnjax.cells.linear_algebra import sum_bias, sum_outer
from rnnjax.methods._batching import folds, replaced_by
from rnnjax.methods._fused import INPUT_AXES, OUTPUT_AXES, Inputs, Outputs
from rnnjax.methods._native_library import CompiledCell
from rnnjax.methods._partitioning import along
from rnnjax.running import vary_along, varying_axes


class Spec(NamedTuple):
    """The static arguments of a call."""

    cell: CompiledCell
    reverse: bool


class Weights(NamedTuple):
    """The params of a compiled cell, in the order of their fields."""

    w_x: Array  # [D, G H]
    w_h: Array  # [H, G H]
    b: Array  # [G H]
    extra: Array | None = None  # [E H]; None if the cell has E = 0


class Tape(NamedTuple):
    """Saved by the forward kernel for the backward kernel."""

    gates: Array  # [T, B, tape H]
    h_tm1: Array  # [T, B, H]
    c_tm1: Array | None  # [T, B, H]


class BackwardData(NamedTuple):
    """The data of the backward kernel: all that is not a weight."""

    tape: Tape
    cotangents: Outputs
    lengths: Array | None
    begins: Array | None


class Errors(NamedTuple):
    """What the backward kernel returns."""

    delta: Array  # [T, B, tape H] ∂C/∂z_t, in the layout that `backward` in cells.h writes
    carry: Carry
    fresh: Carry | None  # None without `begins`
    extra: Array  # [B, E H] ∂C/∂extra, to be summed over the batch


def forward(
    spec: Spec, save: bool, weights: Weights, inputs: Inputs
) -> tuple[Outputs, Tape | None]:
    """Run the whole sequence: the final carry, ys [T, B, H], and the tape if `save`."""

    def run(weights: Weights, inputs: Inputs) -> tuple[Outputs, Tape | None]:
        xs, carry, fresh, lengths, begins = inputs
        (T, B, _), H = xs.shape, weights.w_h.shape[0]
        has_c = spec.cell.has_c
        shapes = [(T, B, H), (B, H), (B if has_c else 0, H)]
        shapes += [(T, B, spec.cell.tape * H) if save else (0,), (T, B, H) if save else (0,)]
        shapes += [(T, B, H) if save and has_c else (0,)]
        ys, h, c, gates, h_tm1, c_tm1 = _call(
            "rnnjax_forward",
            tuple(_struct(xs, *shape) for shape in shapes),
            spec.cell,
            xs,
            *weights[:3],
            _or_empty(weights.extra, xs, 0),
            carry.h,
            _or_empty(getattr(carry, "c", None), xs, 0, H),
            _or_empty(getattr(fresh, "h", None), xs, 0),
            _or_empty(getattr(fresh, "c", None), xs, 0),
            *_flag_operands(lengths, begins),
            reverse=spec.reverse,
        )
        tape = Tape(gates, h_tm1, c_tm1 if has_c else None) if save else None
        return Outputs(_carry(carry, h, c), ys), tape

    return folds(run, INPUT_AXES, (OUTPUT_AXES, 1))(weights, inputs)


def backward(spec: Spec, weights: Weights, data: BackwardData) -> Errors:
    """Backpropagate through the whole sequence: δ = ∂C/∂z_t overwrites the tape's gates."""

    def run(weights: tuple[Array, Array | None], data: BackwardData) -> Errors:
        w_h, extra = weights
        tape, (carry_ct, ys_ct), lengths, begins = data
        _, B, H = ys_ct.shape
        c_shape = (B if spec.cell.has_c else 0, H)
        restarts = begins is not None
        shapes = [tape.gates.shape, (B, H), c_shape, (B, H) if restarts else (0,)]
        shapes += [c_shape if restarts and spec.cell.has_c else (0,), (B, spec.cell.extra * H)]
        delta, h, c, h_fresh, c_fresh, extra_ct = _call(
            "rnnjax_backward",
            tuple(_struct(ys_ct, *shape) for shape in shapes),
            spec.cell,
            w_h,
            _or_empty(extra, ys_ct, 0),
            tape.gates,
            tape.h_tm1,
            _or_empty(tape.c_tm1, ys_ct, 0, B, H),
            ys_ct,
            carry_ct.h,
            _or_empty(getattr(carry_ct, "c", None), ys_ct, 0, H),
            *_flag_operands(lengths, begins),
            aliases={2: 0},  # δ takes the place of the gates
            reverse=spec.reverse,
        )
        fresh = _carry(carry_ct, h_fresh, c_fresh) if restarts else None
        return Errors(delta, _carry(carry_ct, h, c), fresh, extra_ct)

    data_axes = BackwardData._make((1, OUTPUT_AXES, INPUT_AXES.lengths, INPUT_AXES.begins))
    run_batched = folds(run, data_axes, Errors._make((1, 0, 0, 0)))
    return run_batched((weights.w_h, weights.extra), data)


def weight_gradients(
    spec: Spec, xs: Array, h_tm1: Array, delta: Array
) -> tuple[Array, Array, Array]:
    """∂C/∂(w_x, w_h, b) from xs [T, B, D], h_tm1 [T, B, H] and the errors [T, B, tape H]."""

    def call(xs: Array, h_tm1: Array, delta: Array) -> tuple[Array, Array, Array]:
        xs, h_tm1, delta = map(_rows, (xs, h_tm1, delta))
        (_, D), H = xs.shape, h_tm1.shape[1]
        GH = spec.cell.gates * H
        outputs = tuple(_struct(xs, *shape) for shape in [(D, GH), (H, GH), (GH,)])
        return _call("rnnjax_weight_gradients", outputs, spec.cell, xs, h_tm1, delta)

    def portable(xs: Array, h_tm1: Array, delta: Array) -> tuple[Array, Array, Array]:
        # dW_x = Σ_n x_nᵀ δ_n,   dW_h = Σ_n h_{n-1}ᵀ δ_n,   db = Σ_n δ_n
        at_x, at_h = _delta_at_input(spec.cell, delta), _delta_at_recurrent(spec.cell, delta)
        return sum_outer(xs, at_x), sum_outer(h_tm1, at_h), sum_bias(at_x)

    return replaced_by(portable, along(call, 1, None))(xs, h_tm1, delta)


def input_gradients(spec: Spec, w_x: Array, delta: Array) -> Array:
    """∂C/∂x [T, B, D] = δ W_xᵀ, from the errors [T, B, tape H]."""

    def call(w_x: Array, delta: Array) -> Array:
        rows = _rows(delta)
        outputs = _struct(delta, rows.shape[0], w_x.shape[0])
        xs_ct = _call("rnnjax_input_gradients", outputs, spec.cell, w_x, rows)
        return xs_ct.reshape(*delta.shape[:2], w_x.shape[0])

    def portable(w_x: Array, delta: Array) -> Array:
        return _delta_at_input(spec.cell, delta) @ w_x.T

    return replaced_by(portable, along(call, (None, 1), 1))(w_x, delta)


def _delta_at_input(cell: CompiledCell, delta: Array) -> Array:
    """The errors at x W_x in the order of the gates: the first G blocks, rotated."""
    hidden = delta.shape[-1] // cell.tape
    return jnp.roll(delta[..., : cell.gates * hidden], -cell.recurrent_offset * hidden, axis=-1)


def _delta_at_recurrent(cell: CompiledCell, delta: Array) -> Array:
    """The errors at h_{t-1} W_h in the order of the gates: G blocks from `recurrent_offset`."""
    hidden, first = delta.shape[-1] // cell.tape, cell.recurrent_offset
    return delta[..., first * hidden : (first + cell.gates) * hidden]


def _rows(x: Array) -> Array:
    """[T, B, ...] -> [T B, ...]"""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])


def _struct(like: Array, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, like.dtype)


def _or_empty(x: Array | None, like: Array, *shape: int) -> Array:
    return jnp.zeros(shape, like.dtype) if x is None else x


def _call(
    name: str,
    outputs: Any,
    cell: CompiledCell,
    *operands: Array,
    aliases: dict[int, int] | None = None,
    **options: Any,
) -> Any:
    call = jax.ffi.ffi_call(name, outputs, input_output_aliases=aliases)
    return vary_along(varying_axes(operands), call(*operands, cell=cell.position, **options))


def _flag_operands(lengths: Array | None, begins: Array | None) -> tuple[Array, Array]:
    lengths = jnp.zeros(0, jnp.int32) if lengths is None else lengths
    return lengths, jnp.zeros(0, bool) if begins is None else begins


def _carry(like: Carry, h: Array, c: Array) -> Carry:
    return type(like)(h, c) if hasattr(like, "c") else type(like)(h)
