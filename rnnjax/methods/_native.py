"""`native()`: compiled CPU kernels that run a whole sequence in one call, forward and backward."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp

from rnnjax._calls import Value
from rnnjax._execution import BaseGradient, Method, Run, Sequence
from rnnjax._types import Cell, Params, known
from rnnjax.cells.linear_algebra import sum_bias
from rnnjax.methods import _fused
from rnnjax.methods._fused import Calls, Gradients, Inputs, Outputs
from rnnjax.methods._native_calls import (
    BackwardData,
    Spec,
    Tape,
    Weights,
    backward,
    forward,
    input_gradients,
    weight_gradients,
)
from rnnjax.methods._native_library import CompiledCell, compiled_cells, why_not

_KERNEL_OF_FORM: dict[Hashable, str] = {
    ("vanilla", "tanh"): "vanilla_tanh",
    ("vanilla", "relu"): "vanilla_relu",
    "lstm": "lstm",
    "peephole_lstm": "peephole_lstm",
    "lstm_1997": "lstm_1997",
    ("gru", "after"): "gru",
}
"""The kernel that computes each textbook form of a cell, by `Structure.form`."""


@dataclass(frozen=True, repr=False)
class Native(Value):
    """The value made by `native()`."""

    name: str = field(default="native", init=False)

    def refusal(
        self, cell: Cell, base: BaseGradient | None, params: Params, sequence: Sequence
    ) -> str | None:
        return _fused.refusal_of(base) or why_not() or _unfit(cell, params)

    def bind(self, cell: Cell, base: BaseGradient | None, reverse: bool) -> Run:
        spec = Spec(compiled_cells()[_kernel(cell)], reverse)
        calls = Calls(
            input_weights=lambda params: params.w_x,
            shapes=partial(_shapes, spec.cell),
            forward=partial(_forward, spec),
            backward=partial(_backward, spec),
            takes_empty=True,
            batched_tape=True,
        )
        return _fused.bind(calls, cell, reverse)


def native() -> Method:
    """Run the whole sequence in fused compiled kernels on the CPU, forward and backward.

    For `lstm`, `lstm_1997`, `peephole_lstm`, `gru` with the reset after the product, `vanilla` with
    tanh or relu, stacks of these, and `residual` or `input_dropout` around any of them, in float32
    and float64. The weights are packed once per call,
    the gates are computed while the matrix product is still in cache, and the batch or the hidden
    units are divided among XLA's threads. Outputs and gradients are those of `sequential()` up to
    rounding.

    It can be transformed by `jit`, `grad`, `scan`, `vmap` and `shard_map`. A `vmap` over data is
    folded into the batch, one over params runs the kernels in a loop. Where a batch or an ensemble
    is divided among devices, each runs its own part; weights and time are gathered. Forward mode
    (`jvp`, `jacfwd`) and higher derivatives are computed by `lax.scan`, and so is all of it in what
    `jax.export` writes or `jit` lowers for another platform.

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


def _unfit(cell: Cell, params: Params) -> str | None:
    """Why there is no kernel for this cell with these params; None if there is."""
    dtypes = {jnp.result_type(leaf) for leaf in jax.tree.leaves(params)}
    if len(dtypes) != 1 or not dtypes <= {jnp.dtype("float32"), jnp.dtype("float64")}:
        found = ", ".join(sorted(map(str, dtypes)))
        return f"its kernels are for float32 or float64 weights, and these are {found}"
    if _kernel(cell) not in compiled_cells():
        return (
            "there is no kernel for this cell: there is one for each of "
            f"{', '.join(compiled_cells())}, and for stacks of these, residual and input_dropout "
            "(gru only with reset='after', lstm_1997 only with truncate=False)"
        )
    return None


def _kernel(cell: Cell) -> str:
    return _KERNEL_OF_FORM.get(known(cell).form, "")


def _shapes(cell: CompiledCell, params: Params) -> list[tuple[int, ...]]:
    D, H = params.w_x.shape[0], params.w_h.shape[0]
    GH = cell.gates * H
    return [(D, GH), (H, GH), (GH,), *([(cell.extra * H,)] if cell.extra else [])]


def _forward(spec: Spec, save: bool, params: Params, inputs: Inputs) -> tuple[Outputs, Tape | None]:
    return forward(spec, save, Weights(*params), inputs)


def _backward(
    spec: Spec, params: Params, inputs: Inputs, tape: Tape, cotangents: Outputs
) -> Gradients:
    weights = Weights(*params)
    data = BackwardData(tape, cotangents, inputs.lengths, inputs.begins)
    errors = backward(spec, weights, data)
    weights_ct = weight_gradients(spec, inputs.xs, tape.h_tm1, errors.delta)
    if weights.extra is not None:
        weights_ct = (*weights_ct, sum_bias(errors.extra))
    xs_ct = input_gradients(spec, weights.w_x, errors.delta)
    return Gradients(type(params)(*weights_ct), xs_ct, errors.carry, errors.fresh)
