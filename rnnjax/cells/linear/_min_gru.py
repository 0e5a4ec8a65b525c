"""The minimal GRU: a gated cell without recurrent weights, so linear in its state."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_choice, check_positive_int
from rnnjax._types import Array, Cell, Clip, Inputs, Linear, Rule, Structure
from rnnjax.cells._build import DType, draw, factory, float_dtype
from rnnjax.cells.initializers import Initializer, glorot
from rnnjax.cells.linear_algebra import affine, sum_bias, sum_outer

__all__ = ["MinGRUCarry", "MinGRUParams", "min_gru"]


class MinGRUParams(NamedTuple):
    """Blocks side by side in the last axis, in the order z, h: the gate, then the candidate."""

    w_x: Array  # [D, 2H]
    b: Array  # [2H]


class MinGRUCarry(NamedTuple):
    h: Array  # [..., H] hidden state


class MinGRUTape(NamedTuple):
    """Saved at every step: 3H numbers for each example."""

    gates: Array  # [..., 2H] z after σ, and s_h before φ
    h_tm1: Array  # [..., H]


class _Candidate(NamedTuple):
    apply: Callable[[Array], Array]  # s -> φ(s)
    derivative: Callable[[Array], Array]  # s -> φ'(s)


def _positive(s: Array) -> Array:
    return jnp.where(s >= 0, s + 0.5, jax.nn.sigmoid(s))


def _positive_derivative(s: Array) -> Array:
    slope = jax.nn.sigmoid(s)
    return jnp.where(s >= 0, jnp.ones_like(s), slope * (1 - slope))


_CANDIDATES = {
    "linear": _Candidate(lambda s: s, jnp.ones_like),
    "positive": _Candidate(_positive, _positive_derivative),
}


@factory
def min_gru(
    hidden: int,
    candidate: Literal["linear", "positive"] = "linear",
    *,
    w_x_init: Initializer | None = None,
    dtype: DType | None = None,
) -> Cell:
    """The minimal GRU: a gated recurrence whose gate reads the input alone.

        [s_z, s_h] = x_t W_x + b
        z = σ(s_z)
        h̃ = φ(s_h)
        h_t = (1 - z) ⊙ h_{t-1} + z ⊙ h̃
        y_t = h_t

    z is that of the paper, where 1 overwrites and 0 keeps; in `gru` it is the other way round,
    and negating the first block of W_x and b converts one into the other.

    Without a recurrent weight the step is linear in h, with the diagonal coefficient 1 - z that
    depends on the input: a run is one associative scan, ∂h_t/∂h_k = Π (1 - z), and an error can
    vanish but not explode.

    Args:
      hidden: H, the number of hidden units.
      candidate: φ. With "linear" φ(s) = s, the cell of the paper's main text. With "positive"
        φ(s) = s + ½ where s ≥ 0 and σ(s) elsewhere, the g(s) of its log-space form, which keeps a
        state positive that starts so. The two are different functions, not two ways to compute
        one; here neither needs logarithms.
      w_x_init: initialiser of each of the two blocks of W_x; Glorot uniform by default.
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` with `MinGRUParams`, `MinGRUCarry(h [..., H])`, a hand-derived rule and a linear
      form. The first h is zero.

    Raises:
      ValueError: hidden < 1, or an unknown candidate.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.min_gru(3)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))
      >>> ys.shape, carry.h.shape
      ((5, 3), (3,))

    References:
      Feng, Tung, Ahmed, Bengio & Hajimirsadeghi (2024), Were RNNs all we needed?,
      arXiv 2410.01201, section 3.1 and, for "positive", appendix B.
    """
    check_positive_int("hidden", hidden)
    phi = _CANDIDATES[check_choice("candidate", candidate, _CANDIDATES)]
    w_x_init = w_x_init or glorot()

    def init(key: Array, inputs: Inputs) -> MinGRUParams:
        shape, chosen = (check_positive_int("input_size", inputs), hidden), float_dtype(dtype)
        blocks = [draw("w_x_init", w_x_init, k, shape, chosen) for k in jax.random.split(key)]
        return MinGRUParams(jnp.concatenate(blocks, axis=-1), jnp.zeros(2 * hidden, chosen))

    def step(params: MinGRUParams, carry: MinGRUCarry, x_t: Array):
        return forward(params, carry, _project(params, x_t))[0]

    def forward(params: MinGRUParams, carry: MinGRUCarry, z_t: Array):
        del params
        s_z, s_h = jnp.split(z_t, 2, axis=-1)
        z = jax.nn.sigmoid(s_z)
        h = (1 - z) * carry.h + z * phi.apply(s_h)
        return (MinGRUCarry(h), h), MinGRUTape(jnp.concatenate([z, s_h], axis=-1), carry.h)

    def coefficients(params: MinGRUParams, xs: Array) -> tuple[MinGRUCarry, MinGRUCarry]:
        # h_t = a h_{t-1} + b with a = 1 - z and b = z h̃
        s_z, s_h = jnp.split(_project(params, xs), 2, axis=-1)
        z = jax.nn.sigmoid(s_z)
        return MinGRUCarry(1 - z), MinGRUCarry(z * phi.apply(s_h))

    def backward(
        params: MinGRUParams, tape: MinGRUTape, carry_ct: MinGRUCarry, y_ct: Array, clip: Clip
    ):
        # h_t = (1 - z) h_{t-1} + z h̃:   dh = ∂C/∂h_t|_{t+1} + ∂C/∂y_t
        #   δ_z = dh (h̃ - h_{t-1}) z (1 - z),   δ_h = dh z φ'(s_h),   ∂C/∂h_{t-1} = dh (1 - z)
        # No error goes through weights on its way back, so the clip acts on what reaches W_x alone.
        del params
        z, s_h = jnp.split(tape.gates, 2, axis=-1)
        dh = carry_ct.h + y_ct
        delta_z = dh * (phi.apply(s_h) - tape.h_tm1) * z * (1 - z)
        delta_h = dh * z * phi.derivative(s_h)
        delta = clip(jnp.concatenate([delta_z, delta_h], axis=-1))
        return MinGRUCarry(dh * (1 - z)), delta

    shapes = MinGRUParams._make(
        (
            ("D", 2 * hidden),
            (2 * hidden,),
        )
    )
    structure = Structure(
        params=shapes,
        form=("min_gru", candidate),
        linear=Linear(coefficients, _readout),
        mixing=(),
        output="h",
    )
    rule = Rule(_project, forward, backward, _gradients)
    return Cell(init, _initial_carry, step, rule, structure)


def _initial_carry(
    params: MinGRUParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
) -> MinGRUCarry:
    del key
    return MinGRUCarry(jnp.zeros((*batch_shape, params.b.shape[0] // 2), params.b.dtype))


def _project(params: MinGRUParams, xs: Array) -> Array:
    return affine(xs, params.w_x, params.b)


def _readout(params: MinGRUParams, carry: MinGRUCarry, xs: Array) -> Array:
    del params, xs
    return carry.h


def _gradients(params: MinGRUParams, xs: Array, tapes: MinGRUTape, deltas: Array):
    # dW_x = Σ_t x_tᵀ δ_t,   db = Σ_t δ_t,   dx_t = δ_t W_xᵀ
    del tapes
    return MinGRUParams(sum_outer(xs, deltas), sum_bias(deltas)), deltas @ params.w_x.T
