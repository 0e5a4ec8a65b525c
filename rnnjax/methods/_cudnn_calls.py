"""cuDNN's LSTM over a stack of layers, forward and backward, through `jax.experimental.rnn`.

cuDNN is batch first, runs several layers of equal size in one call, and has no sequences of length
0: these run for one step here, and keep their carry.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import rnn
from jax.experimental.layout import Layout, with_layout_constraint
from jax.lax import Precision

from rnnjax._types import Array, Carry, Params
from rnnjax.cells import LSTMCarry, LSTMParams
from rnnjax.methods._batching import folds, runs_one_by_one
from rnnjax.methods._fused import Gradients, Inputs, Outputs
from rnnjax.running import select, zeros_like


class Spec(NamedTuple):
    """The static arguments of a run."""

    precision: Precision
    reverse: bool


class _Sizes(NamedTuple):
    """All of cuDNN's arguments that are not arrays, by the names of `jax.experimental.rnn`."""

    input_size: int
    hidden_size: int
    num_layers: int
    precision: Precision
    dropout: float = 0.0
    bidirectional: bool = False


Tape = list[Any]  # for each call, what cuDNN saves for its backward pass


def layers_of(params: Params) -> list[LSTMParams]:
    """The layers of an LSTM or of a stack of them, the lowest first."""
    return jax.tree.leaves(params, is_leaf=lambda node: isinstance(node, LSTMParams))


def forward(spec: Spec, save: bool, params: Params, inputs: Inputs) -> tuple[Outputs, Tape | None]:
    """Run all layers, one call for each run of equal sizes."""
    layers = layers_of(params)
    carries, structure = _carries(inputs.carry)
    lengths = _lengths(inputs)
    ys = _flip(spec, inputs.xs.swapaxes(0, 1), lengths)
    counts = _counts(ys, lengths)
    new: list[LSTMCarry] = []
    tape: Tape = []
    for span, sizes in _calls(spec, layers, ys.shape[2]):
        h_0, c_0 = _stacked(carries[span])
        data, weights = (ys, h_0, c_0, counts), _flat_weights(layers[span])
        if save:
            (ys, h_T, c_T), saved = _lstm_saving(sizes, data, weights)
            tape.append(saved)
        else:
            ys, h_T, c_T = _lstm(sizes, data, weights)
        ys = _trim(ys, lengths)
        new.extend(map(LSTMCarry, h_T, c_T))
    carry = jax.tree.unflatten(structure, new)
    if lengths is not None:
        carry = select(lengths > 0, carry, inputs.carry)
    ys = _flip(spec, ys, lengths).swapaxes(0, 1)
    return Outputs(carry, ys), tape if save else None


def backward(
    spec: Spec, params: Params, inputs: Inputs, tape: Tape, cotangents: Outputs
) -> Gradients:
    """Backpropagate through the calls of `forward`, the last first."""
    layers = layers_of(params)
    lengths = _lengths(inputs)
    ran_ct = held_ct = zeros_like(cotangents.carry)
    if lengths is None:
        ran_ct = cotangents.carry
    else:
        ran_ct = select(lengths > 0, cotangents.carry, ran_ct)
        held_ct = select(lengths > 0, held_ct, cotangents.carry)
    carries_ct, structure = _carries(ran_ct)
    layers_ct = list(layers)
    xs_ct = _flip(spec, cotangents.ys.swapaxes(0, 1), lengths)
    calls = list(_calls(spec, layers, inputs.xs.shape[2]))
    for (span, sizes), saved in reversed(list(zip(calls, tape, strict=True))):
        ct = (_trim(xs_ct, lengths), *_stacked(carries_ct[span]))
        xs_ct, h_0, c_0, weights_ct = _lstm_backward(sizes, saved, ct)
        carries_ct[span] = map(LSTMCarry, h_0, c_0)
        (layers_ct[span],) = jax.vjp(_flat_weights, layers[span])[1](weights_ct)
    carry_ct = jax.tree.map(jnp.add, jax.tree.unflatten(structure, carries_ct), held_ct)
    xs_ct = _flip(spec, _trim(xs_ct, lengths), lengths).swapaxes(0, 1)
    return Gradients(_like(params, layers_ct), xs_ct, carry_ct, None)


def _like(params: Params, layers: list[LSTMParams]) -> Params:
    return jax.tree.unflatten(jax.tree.structure(params), jax.tree.leaves(layers))


def _carries(carry: Carry) -> tuple[list[LSTMCarry], Any]:
    return jax.tree.flatten(carry, is_leaf=lambda node: isinstance(node, LSTMCarry))


def _stacked(carries: list[LSTMCarry]) -> tuple[Array, Array]:
    """h and c [L, B, H] of L layers."""
    h, c = map(jnp.stack, zip(*carries, strict=True))
    return h, c


def _calls(spec: Spec, layers: list[LSTMParams], features: int) -> Iterator[tuple[slice, _Sizes]]:
    """The layers that each call runs, and its sizes."""
    first = 0
    for hidden, group in groupby(layers, key=lambda params: params.w_h.shape[0]):
        count = len(list(group))
        yield slice(first, first + count), _Sizes(features, hidden, count, spec.precision)
        first, features = first + count, hidden


def _flat_weights(layers: list[LSTMParams]) -> Array:
    """cuDNN's weights, [gates*H, in] and gates i, f, g, o as ours; of its two biases one is 0.

    W_x⁰, W_h⁰, W_x¹, W_h¹, …, b_x⁰, b_h⁰, b_x¹, b_h¹, …
    """
    matrices = [w.T.ravel() for p in layers for w in (p.w_x, p.w_h)]
    biases = [b for p in layers for b in (p.b, jnp.zeros_like(p.b))]
    return jnp.concatenate(matrices + biases)


def _lengths(inputs: Inputs) -> Array | None:
    """Within 0..T: traced ones are unchecked, and index memory here."""
    return None if inputs.lengths is None else jnp.clip(inputs.lengths, 0, inputs.xs.shape[0])


def _counts(xs: Array, lengths: Array | None) -> Array:
    """How many steps cuDNN runs of each of xs [B, T, D]: at least one."""
    size, steps, _ = xs.shape
    counts = jnp.full(size, steps) if lengths is None else jnp.maximum(lengths, 1)
    return counts.astype(jnp.int32)


def _trim(xs: Array, lengths: Array | None) -> Array:
    """xs [B, T, D] with zeros past the lengths [B], whatever was there."""
    if lengths is None:
        return xs
    valid = jnp.arange(xs.shape[1])[None] < lengths[:, None]
    return jnp.where(valid[..., None], xs, jnp.zeros((), xs.dtype))


def _flip(spec: Spec, xs: Array, lengths: Array | None) -> Array:
    """xs [B, T, D], for a reversed run with each sequence's valid part reversed.

    Padding stays in place. It is its own inverse and its own transpose.
    """
    if not spec.reverse:
        return xs
    if lengths is None:
        return jnp.flip(xs, axis=1)
    t = jnp.arange(xs.shape[1])[None]
    source = jnp.where(t < lengths[:, None], lengths[:, None] - 1 - t, t)
    return jnp.take_along_axis(xs, source[..., None], axis=1, mode="promise_in_bounds")


# In the three calls, data is xs [B, T, D], h_0 and c_0 [L, B, H] and the lengths [B] >= 1, and the
# outputs are ys [B, T, H], h_T and c_T [L, B, H]. What cuDNN saves is of the batch as a whole, and
# the gradient of the weights is a sum over it: under `vmap` only the first can fold data.
#
# JAX's operations do not tell XLA in which layout cuDNN reads and writes its arrays, and XLA takes
# a transposed one where that saves it a copy: next to a `swapaxes`, the results are then wrong. So
# all that goes in and comes out is held to be row-major.


def _lstm(sizes: _Sizes, data: Any, weights: Array) -> tuple[Array, Array, Array]:
    def call(weights: Array, data: Any) -> Any:
        arguments = _row_major((*data[:3], weights, data[3]))
        return _row_major(rnn.lstm_fwd(*arguments, **sizes._asdict())[0])

    return folds(call, (0, 1, 1, 0), (0, 1, 1))(weights, data)


def _lstm_saving(sizes: _Sizes, data: Any, weights: Array) -> tuple[Any, Any]:
    def call(*arguments: Array) -> Any:
        return _row_major(rnn.lstm_fwd(*_row_major(arguments), **sizes._asdict()))

    xs, h_0, c_0, counts = data
    return runs_one_by_one(call)(xs, h_0, c_0, weights, counts)


def _lstm_backward(sizes: _Sizes, saved: Any, cotangents: Any) -> tuple[Array, ...]:
    """∂C/∂ of xs, h_0, c_0 and the weights."""

    def call(saved: Any, cotangents: Any) -> Any:
        given = {"residuals": _row_major(saved), "gradients": _row_major(cotangents)}
        return _row_major(rnn.lstm_bwd(**sizes._asdict(), **given)[:4])

    return runs_one_by_one(call)(saved, cotangents)


def _row_major(arrays: Any) -> Any:
    def hold(x: Array) -> Array:
        return with_layout_constraint(x, Layout(tuple(range(x.ndim)))) if x.ndim > 1 else x

    if getattr(jax.config, "jax_disable_jit"):  # noqa: B009  then all arrays are row-major
        return arrays
    return jax.tree.map(hold, arrays)
