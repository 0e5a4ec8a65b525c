"""cuDNN's LSTM: the whole sequence in one call, through `jax.experimental.rnn`."""

from dataclasses import dataclass, field
from functools import partial

import jax
from jax.core import Tracer
from jax.experimental import rnn
from jax.lax import Precision

from rnnjax._calls import Value
from rnnjax._execution import BaseGradient, Method, Run, Sequence
from rnnjax._types import Cell, Params, known
from rnnjax.methods import _fused
from rnnjax.methods._cudnn_calls import Spec, backward, forward, layers_of
from rnnjax.methods._fused import Calls

_LONGEST = 65_535


@dataclass(frozen=True, repr=False)
class Cudnn(Value):
    """The value made by `cudnn()`."""

    precision: Precision = field(default=Precision.HIGHEST, kw_only=True)
    name: str = field(default="cudnn", init=False)

    def refusal(
        self, cell: Cell, base: BaseGradient | None, params: Params, sequence: Sequence
    ) -> str | None:
        return _fused.refusal_of(base) or why_not() or _unfit(cell, params, sequence)

    def bind(self, cell: Cell, base: BaseGradient | None, reverse: bool) -> Run:
        spec = Spec(self.precision, reverse)
        calls = Calls(
            input_weights=lambda params: layers_of(params)[0].w_x,
            shapes=_shapes,
            forward=partial(forward, spec),
            backward=partial(backward, spec),
            takes_empty=False,
            batched_tape=False,
        )
        return _fused.bind(calls, cell, reverse)


def cudnn(*, precision: Precision = Precision.HIGHEST) -> Method:
    """Run LSTMs by cuDNN, on NVIDIA GPUs: float32, `lstm` cells and stacks of them.

    To compare with: it has not been faster than `sequential()`, see docs/performance/gpu.md, so
    `auto()` does not take it. JAX asks cuDNN for its standard algorithm, PyTorch for those that
    keep small weights on the chip, and only the LSTM is there.

    Layers of equal size that follow one another in a `stack` are one call of cuDNN; others are
    one call each. A reversed sequence is flipped, run and flipped back, so `bidirectional` is two
    calls, not cuDNN's own bidirectional mode. Lengths, empty sequences and padding that is not
    finite give the same results as with `sequential()`; T = 0 and empty batches never reach cuDNN.

    Its gradient is cuDNN's own backward pass. Forward mode (`jvp`, `jacfwd`) and higher derivatives
    are computed by `lax.scan`. A `vmap` over data is folded into the batch, but where it is
    differentiated the mapped examples run one after the other, as they do for mapped params: that
    is right but slow, so give `unroll` xs with batch dimensions instead.

    It is for one GPU: XLA gathers what it reads from several on each of them. Call `unroll` inside
    `jax.shard_map` to divide a batch.

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
    if not isinstance(precision, Precision) or precision == Precision.DEFAULT:
        raise ValueError(
            "precision must be jax.lax.Precision.HIGHEST (float32) or jax.lax.Precision.HIGH "
            f"(TF32), got {precision!r}"
        )
    return Cudnn(precision=precision)


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


def _unfit(cell: Cell, params: Params, sequence: Sequence) -> str | None:
    """Why cuDNN cannot run this problem; None if it can."""
    if not _is_lstm(cell):
        return "cuDNN runs lstm cells and stacks of them here, and this cell is another"
    dtypes = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(params)} - {"float32"})
    if dtypes:
        return f"cuDNN's LSTM needs float32 params, these have {', '.join(dtypes)}"
    steps = jax.tree.leaves(sequence.xs)[0].shape[0]
    if steps > _LONGEST:
        return f"cuDNN takes {_LONGEST:,} steps at most, and these are {steps:,}"
    if sequence.resets is not None:
        return "cuDNN cannot restart a carry inside a sequence, as resets= asks"
    arrays = jax.tree.leaves((params, sequence))
    placed = [a for a in arrays if isinstance(a, jax.Array) and not isinstance(a, Tracer)]
    elsewhere = sorted({device.platform for a in placed for device in a.devices()} - {"gpu"})
    if elsewhere:
        return f"arrays are on {', '.join(elsewhere)}: move them with jax.device_put"
    return None


def _shapes(params: Params) -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = []
    for layer in layers_of(params):
        D, H = layer.w_x.shape[0], layer.w_h.shape[0]
        below = shapes[-2][0] if shapes else D  # H of the layer below
        shapes += [(below, 4 * H), (H, 4 * H), (4 * H,)]
    return shapes


def _is_lstm(cell: Cell) -> bool:
    structure = known(cell)
    layers = structure.layers
    return structure.form == "lstm" or (bool(layers) and all(map(_is_lstm, layers)))
