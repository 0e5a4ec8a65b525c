"""NVIDIA's own LSTM: the whole sequence in one call of cuDNN, through `jax.experimental.rnn`."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.experimental import rnn
from jax.lax import Precision

from rnnjax._execution import BaseGradient, Method, Run, Sequence
from rnnjax._reverse_only import reverse_only
from rnnjax._types import Array, Carry, Cell, Params, PyTree, known
from rnnjax.cells import LSTMCarry, LSTMParams
from rnnjax.cells.linear_algebra import check_features
from rnnjax.gradients import bptt
from rnnjax.running import select


@dataclass(frozen=True)
class Cudnn:
    """The value made by `cudnn()`."""

    precision: Precision = Precision.HIGHEST
    name: str = field(default="cudnn", init=False, repr=False)

    def refusal(
        self, cell: Cell, base: BaseGradient | None, params: Params, sequence: Sequence
    ) -> str | None:
        return why_not() or _unfit(cell, base, params, sequence)

    def bind(self, cell: Cell, base: BaseGradient | None, reverse: bool) -> Run:
        return partial(self._run, reverse)

    def _run(self, reverse: bool, params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
        params, carry, xs = reverse_only((params, sequence.carry, sequence.xs))
        layers = jax.tree.leaves(params, is_leaf=lambda node: isinstance(node, LSTMParams))
        xs = xs.astype(layers[0].w_x.dtype)
        check_features(xs, layers[0].w_x)
        steps, *batch, _ = xs.shape
        size = math.prod(batch)
        if steps == 0 or size == 0:  # cuDNN takes neither
            return carry, jnp.zeros((steps, *batch, layers[-1].w_h.shape[0]), xs.dtype)

        lengths = sequence.lengths
        if lengths is not None:  # traced ones are unchecked, and index memory here
            lengths = jnp.clip(lengths.reshape(size), 0, steps)
        flat = jax.tree.map(lambda leaf: leaf.reshape(size, leaf.shape[-1]), carry)
        ys = _trim(xs.reshape(steps, size, xs.shape[-1]), lengths)
        ys = _flip(ys, lengths) if reverse else ys
        flat, ys = _run_layers(layers, flat, ys, lengths, self.precision)
        ys = _flip(ys, lengths) if reverse else ys
        carry = jax.tree.map(lambda leaf: leaf.reshape(*batch, leaf.shape[-1]), flat)
        return carry, ys.reshape(steps, *batch, ys.shape[-1])


def cudnn(*, precision: Precision = Precision.HIGHEST) -> Method:
    """Run LSTMs by cuDNN, on NVIDIA GPUs: float32, `lstm` cells and stacks of them.

    Layers of equal size that follow one another in a `stack` are one call of cuDNN; others are
    one call each. A reversed sequence is flipped, run and flipped back, so `bidirectional` is two
    calls, not cuDNN's own bidirectional mode. Lengths, empty sequences and padding that is not
    finite give the same results as with `sequential()`; T = 0 and empty batches never reach cuDNN.

    It is differentiated by cuDNN's own backward pass, once and in reverse: `jvp`, `jacfwd`,
    second derivatives and `jvp` of a `grad` raise TypeError; use `sequential()` for them. Under
    `vmap` it runs the mapped examples one after another, which is right but slow: give `unroll`
    xs with batch dimensions instead.

    Args:
      precision: `jax.lax.Precision.HIGHEST` computes in float32. `HIGH` lets cuDNN round the
        inputs of its matrix products to TF32, 10 bits of mantissa: faster, with relative errors
        near 1e-3.

    Raises:
      ValueError: another precision; or (in `unroll`) no NVIDIA GPU, another cell, other dtypes
        than float32, clipping inside the loop, or resets. The message says which.

    References:
      Chetlur et al. (2014), cuDNN: Efficient primitives for deep learning, arXiv 1410.0759.
      Appleyard, Kočiský & Blunsom (2016), Optimizing performance of recurrent neural networks on
      GPUs, arXiv 1604.01946.
    """
    if precision not in (Precision.HIGHEST, Precision.HIGH):
        raise ValueError(
            "precision must be jax.lax.Precision.HIGHEST (float32) or jax.lax.Precision.HIGH "
            f"(TF32), got {precision!r}"
        )
    return Cudnn(precision)


def why_not() -> str | None:
    """Why cuDNN cannot run on this machine; None if it can."""
    bindings = getattr(rnn, "gpu_rnn", None)
    if not hasattr(bindings, "compute_rnn_workspace_reserve_space_sizes"):
        return "this jaxlib has no CUDA: with an NVIDIA GPU, pip install 'jax[cuda12]'"
    try:
        jax.devices("cuda")
    except RuntimeError:
        return f"JAX finds no NVIDIA GPU, only {jax.default_backend()} devices"
    if jax.default_backend() != "gpu":
        return f"JAX runs on {jax.default_backend()} by default, not on the NVIDIA GPU"
    return None


def _unfit(cell: Cell, base: BaseGradient | None, params: Params, sequence: Sequence) -> str | None:
    """Why cuDNN cannot run this problem; None if it can."""
    if not _is_lstm(cell):
        return "cuDNN runs lstm cells and stacks of them here, and this cell is another"
    dtypes = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(params)} - {"float32"})
    if dtypes:
        return f"cuDNN's LSTM needs float32 params, these have {', '.join(dtypes)}"
    if base not in (None, bptt()) and (base is None or base.clip is None):
        return f"cuDNN's backward pass is the hand-derived rule, as bptt() is, and not {base}"
    if base is not None and base.clip is not None:
        return "cuDNN's backward pass cannot clip δ_t inside the loop, as bptt(clip=...) asks"
    if sequence.resets is not None:
        return "cuDNN cannot restart a carry inside a sequence, as resets= asks"
    arrays = jax.tree.leaves((params, sequence))
    known = [a for a in arrays if isinstance(a, jax.Array) and not isinstance(a, Tracer)]
    elsewhere = sorted({device.platform for a in known for device in a.devices()} - {"gpu"})
    if elsewhere:
        return f"arrays are on {', '.join(elsewhere)}: move them with jax.device_put"
    return None


def _is_lstm(cell: Cell) -> bool:
    structure = known(cell)
    layers = structure.layers
    return structure.form == "lstm" or (bool(layers) and all(map(_is_lstm, layers)))


def _trim(xs: Array, lengths: Array | None) -> Array:
    """xs [T, B, D] with zeros past the lengths [B], whatever was there, and no gradient."""
    if lengths is None:
        return xs
    valid = jnp.arange(xs.shape[0])[:, None] < lengths[None]
    return jnp.where(valid[..., None], xs, jnp.zeros((), xs.dtype))


def _flip(xs: Array, lengths: Array | None) -> Array:
    """xs [T, B, D] with each sequence's valid part reversed and its padding left in place."""
    if lengths is None:
        return jnp.flip(xs, axis=0)
    t = jnp.arange(xs.shape[0])[:, None]
    source = jnp.where(t < lengths[None], lengths[None] - 1 - t, t)
    each = jnp.arange(xs.shape[1])[None]
    return xs.at[source, each].get(unique_indices=True, mode="promise_in_bounds")


def _run_layers(
    layers: list[LSTMParams], carry: Carry, xs: Array, lengths: Array | None, precision: Precision
) -> tuple[Carry, Array]:
    """All layers over xs [T, B, D] forward in time, one call for each run of equal sizes.

    Sequences of length 0 run for one step, since cuDNN has no shorter ones, and keep their carry.
    """
    steps, size, _ = xs.shape
    counts = jnp.full(size, steps) if lengths is None else jnp.maximum(lengths, 1)
    carries, structure = jax.tree.flatten(carry, is_leaf=lambda node: isinstance(node, LSTMCarry))
    ys = xs.swapaxes(0, 1)  # cuDNN is batch first
    new: list[LSTMCarry] = []
    for hidden, group in groupby(layers, key=lambda params: params.w_h.shape[0]):
        equal = list(group)
        first = len(new)
        h_0, c_0 = map(jnp.stack, zip(*carries[first : first + len(equal)], strict=True))
        sizes = _Sizes(ys.shape[-1], hidden, len(equal), precision)
        weights = _flat_weights(equal)
        ys, h_T, c_T = _lstm(sizes, ys, h_0, c_0, weights, counts.astype(jnp.int32))
        new.extend(map(LSTMCarry, h_T, c_T))
        ys = _trim(ys.swapaxes(0, 1), lengths).swapaxes(0, 1)
    carry_T = jax.tree.unflatten(structure, new)
    return carry_T if lengths is None else select(lengths > 0, carry_T, carry), ys.swapaxes(0, 1)


def _flat_weights(layers: list[LSTMParams]) -> Array:
    """cuDNN's weights, [gates*H, in] and gates i, f, g, o as ours; of its two biases one is 0.

    W_x⁰, W_h⁰, W_x¹, W_h¹, …, b_x⁰, b_h⁰, b_x¹, b_h¹, …
    """
    matrices = [w.T.ravel() for p in layers for w in (p.w_x, p.w_h)]
    biases = [b for p in layers for b in (p.b, jnp.zeros_like(p.b))]
    return jnp.concatenate(matrices + biases)


class _Sizes(NamedTuple):
    """All of cuDNN's arguments that are not arrays, by the names of `jax.experimental.rnn`."""

    input_size: int
    hidden_size: int
    num_layers: int
    precision: Precision
    dropout: float = 0.0
    bidirectional: bool = False


def _lstm_outputs(sizes: _Sizes, *arrays: Array) -> tuple[Array, Array, Array]:
    """Inputs [B, T, D], h_0, c_0 [L, B, H], weights, lengths [B] >= 1 -> ys [B, T, H], h_T, c_T."""
    return _lstm_forward(sizes, *arrays)[0]


def _lstm_forward(sizes: _Sizes, *arrays: Array) -> tuple[tuple[Array, Array, Array], Any]:
    return _opaque(partial(rnn.lstm_fwd, **sizes._asdict()))(*arrays)


def _lstm_backward(sizes: _Sizes, saved: Any, cotangents: Any) -> tuple[Any, ...]:
    def backward(saved: Any, cotangents: Any) -> Any:
        return rnn.lstm_bwd(**sizes._asdict(), residuals=saved, gradients=cotangents)[:4]

    return (*_opaque(backward)(saved, cotangents), None)


_lstm = jax.custom_vjp(_lstm_outputs, nondiff_argnums=(0,))
_lstm.defvjp(_lstm_forward, _lstm_backward)


def _opaque(call: Callable[..., Any]) -> Callable[..., Any]:
    """A call that JAX can neither batch, so that vmap loops over it, nor differentiate."""
    guarded = jax.custom_jvp(jax.custom_batching.sequential_vmap(call))
    guarded.defjvp(_refuse)
    return guarded


def _refuse(primals: Any, tangents: Any) -> Any:
    raise TypeError(
        "method=cudnn() can be differentiated once, in reverse: use method=rnnjax.sequential() for "
        "second derivatives and for jvp of a grad"
    )
