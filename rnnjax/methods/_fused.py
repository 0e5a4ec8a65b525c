"""The driver of fused methods, which run a whole sequence in one call, forward and backward.

A method supplies `Calls` on flat arrays with one batch axis. All that does not depend on who
computes them is here: batch dimensions, casts and masks of the inputs, empty sequences, the
derivatives of every kind and order, and the refusal of other gradients.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._execution import BaseGradient, Run, Sequence
from rnnjax._linear_map import linear_map
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.cells.linear_algebra import check_features
from rnnjax.gradients import bptt
from rnnjax.methods._batching import merge, split
from rnnjax.methods._lowering import portable_elsewhere
from rnnjax.running import blank, final_carry, mask, prepare, vary_along, varying_axes

Tape = Any  # a pytree of arrays: what the forward call saves for the backward call


class Inputs(NamedTuple):
    """The data of a run, with one batch axis."""

    xs: Array  # [T, B, D] in the params' precision, zero in the padding
    carry: Carry  # leaves [B, ...]
    fresh: Carry | None  # leaves [B, ...]; None without `begins`
    lengths: Array | None  # [B] int32; unchecked if they were traced
    begins: Array | None  # [T, B] bool: the carry restarts before this step of the loop


class Outputs(NamedTuple):
    """What a run returns, or the cotangents of it."""

    carry: Carry  # leaves [B, ...]
    ys: Array  # [T, B, H], zero in the padding


# The batch axis of each field.
INPUT_AXES = Inputs._make((1, 0, 0, 0, 1))
OUTPUT_AXES = Outputs._make((0, 1))


class Gradients(NamedTuple):
    """∂C/∂ of everything differentiable that a run reads."""

    params: Params
    xs: Array  # [T, B, D], zero in the padding
    carry: Carry
    fresh: Carry | None  # None without `begins`


class Calls(NamedTuple):
    """What a method supplies. Each function defines what `vmap` does to it; see `_batching`.

    `forward(save, params, inputs)` returns the tape if `save`, else None.
    `backward(params, inputs, tape, cotangents)` is best made of several calls, so that XLA drops
    those whose result nobody asks for.
    """

    input_weights: Callable[[Params], Array]  # the weights [D, G] that read the inputs
    shapes: Callable[[Params], list[tuple[int, ...]]]  # those that the leaves of params must have
    forward: Callable[[bool, Params, Inputs], tuple[Outputs, Tape]]
    backward: Callable[[Params, Inputs, Tape, Outputs], Gradients]
    takes_empty: bool  # whether T, B and D may be 0
    batched_tape: bool  # whether the tape is [T, B, ...] in every array


class _Net(NamedTuple):
    """All that is not an array."""

    calls: Calls
    cell: Cell
    reverse: bool


def bind(calls: Calls, cell: Cell, reverse: bool) -> Run:
    """The run of `cell` that is computed by `calls`."""
    net = _Net(calls, cell, reverse)

    def run(params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
        _check_params(params, calls.shapes(params))
        check_features(sequence.xs, calls.input_weights(params))
        data, flags = sequence[:3], sequence[3:]
        if 0 in data[0].shape and not calls.takes_empty:
            return _portable(net, flags, params, data)
        return _run(net, params, data, flags)

    return run


def refusal_of(base: BaseGradient | None) -> str | None:
    """Why a backward pass that is the hand-derived rule is not this gradient; None if it is."""
    if base is None or base == bptt():
        return None
    if base.clip is not None:
        return f"its backward pass cannot clip δ_t inside the loop, as gradient={base} asks"
    return (
        f"it cannot be differentiated by gradient={base}: its backward pass is the hand-derived "
        "rule, as that of bptt()"
    )


def _check_params(params: Params, expected: list[tuple[int, ...]]) -> None:
    """Raise ValueError for what the calls themselves could only refuse when they run."""
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    if len(leaves) != len(expected):
        raise ValueError(
            f"params has {len(leaves)} arrays, expected {len(expected)}{_NOT_THIS_CELL}"
        )
    for (path, leaf), shape in zip(leaves, expected, strict=True):
        if jnp.shape(leaf) != shape:
            name = jax.tree_util.keystr(path)
            raise ValueError(
                f"params{name} has shape {jnp.shape(leaf)}, expected {shape}{_NOT_THIS_CELL}"
            )


_NOT_THIS_CELL = (
    ": these are not params that cell.init(key, input_size) makes. For params with a leading axis, "
    "such as those of an ensemble, use jax.vmap"
)


# Differentiable in params and data = (xs, carry, fresh), not in flags = (lengths, resets).
@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _run(net: _Net, params: Params, data: Any, flags: Any) -> tuple[Carry, Array]:
    carry, ys, _ = _forward(net, False, params, data, flags)
    return carry, ys


@partial(_run.defjvp, symbolic_zeros=True)
def _run_jvp(net: _Net, primals: Any, tangents: Any) -> Any:
    *out, tape = _forward(net, True, *primals)
    forward, backward = (partial(f, net) for f in (_run_tangents, _run_backward))
    axes = _AXES if net.calls.batched_tape else None
    saved = (*primals, tape)
    return tuple(out), linear_map(forward, backward, saved, tangents[:2], tuple(out), axes=axes)


_POINT = (None, (1, 0, 0))  # params; xs, carry, fresh
_AXES = ((*_POINT, (0, 1), 1), _POINT, (0, 1))  # where a batch axis goes; lengths, resets; tape


def _run_tangents(net: _Net, saved: Any, tangents: Any) -> Any:
    params, data, flags, _ = saved
    return jax.jvp(partial(_portable, net, flags), (params, data), tangents)[1]


def _run_backward(net: _Net, saved: Any, cotangents: Any) -> Any:
    params, data, flags, tape = saved
    given = _backward(net, params, data, flags, tape, cotangents)
    return vary_along(varying_axes(cotangents), given)


def _forward(net: _Net, save: bool, params: Params, data: Any, flags: Any) -> Any:
    def call(params: Params, data: Any, flags: Any) -> Any:
        outputs, tape = net.calls.forward(save, params, _flat(net, params, data, flags))
        if net.calls.batched_tape:
            tape = split(1, tape, _batch_shape(data))
        return *split(OUTPUT_AXES, outputs, _batch_shape(data)), tape

    def portable(params: Params, data: Any, flags: Any) -> Any:
        tape = jax.eval_shape(call, params, data, flags)[2]  # which no portable run reads
        return *_portable(net, flags, params, data), jax.tree.map(jnp.zeros_like, tape)

    return portable_elsewhere(call, portable)(params, data, flags)


def _backward(
    net: _Net, params: Params, data: Any, flags: Any, tape: Tape, cotangents: Any
) -> tuple[Params, Any]:
    """∂C/∂params and ∂C/∂data."""

    def call(params: Params, data: Any, flags: Any, tape: Tape, cotangents: Any) -> Any:
        xs, _, fresh = data
        batch = _batch_shape(data)
        flat_ct = merge(OUTPUT_AXES, Outputs(*cotangents), len(batch))
        inputs = _flat(net, params, data, flags)
        if net.calls.batched_tape:
            tape = merge(1, tape, len(batch))
        params_ct, *data_ct = net.calls.backward(params, inputs, tape, flat_ct)
        xs_ct, carry_ct, fresh_ct = split((1, 0, 0), tuple(data_ct), batch)
        if fresh_ct is None:
            fresh_ct = jax.tree.map(jnp.zeros_like, fresh)
        return params_ct, (xs_ct.astype(xs.dtype), carry_ct, fresh_ct)

    def portable(params: Params, data: Any, flags: Any, _: Tape, cotangents: Any) -> Any:
        return _pull_back(net, flags, params, data, cotangents)

    either = portable_elsewhere(call, portable)
    return either(params, data, flags, tape, cotangents)


def _portable(net: _Net, flags: Any, params: Params, data: Any) -> tuple[Carry, PyTree]:
    """The same run by `lax.scan`: for empty sequences, second derivatives and exported code."""
    ready, carry, xs = prepare(net.cell, params, Sequence(*data, *flags), net.reverse)
    carry, ys = jax.lax.scan(partial(ready.step, params), carry, xs, reverse=net.reverse)
    return final_carry(carry), ys


def _pull_back(net: _Net, flags: Any, params: Params, data: Any, cotangents: Any) -> Any:
    """The same gradients by `lax.scan`."""
    return jax.vjp(partial(_portable, net, flags), params, data)[1](cotangents)


def _batch_shape(data: Any) -> tuple[int, ...]:
    return data[0].shape[1:-1]


def _flat(net: _Net, params: Params, data: Any, flags: Any) -> Inputs:
    _, carry, fresh = data
    masked = mask(params, Sequence(*data, *flags), net.reverse)
    restart = None if masked.begins is None else fresh
    inputs = Inputs(blank(masked.valid, masked.xs), carry, restart, flags[0], masked.begins)
    return merge(INPUT_AXES, inputs, len(_batch_shape(data)))
