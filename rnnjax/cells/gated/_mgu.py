"""The minimal gated unit, of its paper and of Flax."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_choice, check_positive_int
from rnnjax._types import Array, Cell, Clip, Inputs, Rule, Structure
from rnnjax.cells._build import DType, draw_weights, factory
from rnnjax.cells.initializers import Initializer, glorot, orthogonal
from rnnjax.cells.linear_algebra import add_bias, affine, sum_bias, sum_outer

__all__ = ["MGUCarry", "MGUParams", "mgu"]

MGUVariant = Literal["zhou", "flax", "flax_no_reset"]


class MGUParams(NamedTuple):
    """Gate and candidate side by side in the last axis, in the order f, n."""

    w_x: Array  # [D, 2H]
    w_h: Array  # [H, 2H]
    b: Array  # [2H]
    b_hn: Any  # Array [H], inside the gate; None but for variant="flax"


class MGUCarry(NamedTuple):
    h: Array  # [..., H] hidden state


class MGUTape(NamedTuple):
    """Saved at every step: 3H numbers for each example, 4H for variant="flax"."""

    f: Array  # [..., H]
    n: Array  # [..., H]
    h_tm1: Array  # [..., H]
    recurrent: Any  # Array [..., H] h_{t-1} W_hn + b_hn; None but for variant="flax"


@factory
def mgu(
    hidden: int,
    *,
    variant: MGUVariant = "zhou",
    w_x_init: Initializer | None = None,
    w_h_init: Initializer | None = None,
    dtype: DType | None = None,
) -> Cell:
    """The minimal gated unit (MGU): a GRU with a single gate.

        f = σ(x_t W_xf + h_{t-1} W_hf + b_f)

        n = tanh(x_t W_xn + (f ⊙ h_{t-1}) W_hn + b_n)                 variant="zhou"
        h_t = (1 - f) ⊙ h_{t-1} + f ⊙ n

        n = tanh(x_t W_xn + b_n + f ⊙ (h_{t-1} W_hn + b_hn))          variant="flax"
        n = tanh(x_t W_xn + b_n + h_{t-1} W_hn)                       variant="flax_no_reset"
        h_t = (1 - f) ⊙ n + f ⊙ h_{t-1}

        y_t = h_t

    Paper and Flax differ in more than the sign of the gate: in the paper the gate that is open for
    the new n also lets h_{t-1} into it, in Flax the one that keeps h_{t-1} does. The weights of one
    say nothing in the other. "flax_no_reset" is `flax.linen.MGUCell(reset_gate=False)`.

    Args:
      hidden: H, the number of hidden units.
      variant: whose function: "zhou", the paper's, "flax" or "flax_no_reset".
      w_x_init: initialiser of both blocks of W_x; Glorot uniform by default.
      w_h_init: initialiser of both blocks of W_h; orthogonal by default.
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` with `MGUParams`, `MGUCarry(h [..., H])` and a hand-derived rule. b_f starts at 0, in
      Flax's variants at 1, as there: they begin by remembering.

    Raises:
      ValueError: hidden < 1, or an unknown variant.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.mgu(3)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))
      >>> ys.shape
      (5, 3)

    References:
      Zhou, Wu, Zhang & Zhou (2016), Minimal gated unit for recurrent neural networks,
      International Journal of Automation and Computing 13; arXiv 1603.09420.
    """
    check_positive_int("hidden", hidden)
    check_choice("variant", variant, ("zhou", "flax", "flax_no_reset"))
    w_x_init, w_h_init = w_x_init or glorot(), w_h_init or orthogonal()

    def init(key: Array, inputs: Inputs) -> MGUParams:
        w_x, w_h, b = draw_weights(key, inputs, hidden, 2, w_x_init, w_h_init, dtype)
        b_hn = jnp.zeros(hidden, w_h.dtype) if variant == "flax" else None
        return MGUParams(w_x, w_h, b.at[:hidden].set(0 if variant == "zhou" else 1), b_hn)

    rule = _ZHOU if variant == "zhou" else _FLAX

    def step(params: MGUParams, carry: MGUCarry, x_t: Array):
        return rule.forward(params, carry, _project(params, x_t))[0]

    shapes = MGUParams._make(
        (
            ("D", 2 * hidden),
            (hidden, 2 * hidden),
            (2 * hidden,),
            (hidden,) if variant == "flax" else None,
        )
    )
    mixing = None if variant == "zhou" else ("w_h",)  # there f_j reaches every unit in one step
    structure = Structure(params=shapes, form=("mgu", variant), mixing=mixing, output="h")
    return Cell(init, _initial_carry, step, rule, structure)


def _initial_carry(
    params: MGUParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
) -> MGUCarry:
    del key
    return MGUCarry(jnp.zeros((*batch_shape, params.w_h.shape[0]), params.w_h.dtype))


def _project(params: MGUParams, xs: Array) -> Array:
    return affine(xs, params.w_x, params.b)


def _forward_zhou(params: MGUParams, carry: MGUCarry, z_t: Array):
    z_f, z_n = jnp.split(z_t, 2, axis=-1)
    w_f, w_n = jnp.split(params.w_h, 2, axis=-1)
    f = jax.nn.sigmoid(z_f + carry.h @ w_f)
    n = jnp.tanh(z_n + (f * carry.h) @ w_n)
    h = (1 - f) * carry.h + f * n
    return (MGUCarry(h), h), MGUTape(f, n, carry.h, None)


def _backward_zhou(params: MGUParams, tape: MGUTape, carry_ct: MGUCarry, y_ct: Array, clip: Clip):
    # h_t = (1 - f) h_{t-1} + f n:        dh = ∂C/∂h_t,   δ_n = dh f (1 - n²)
    # n = tanh(z_n + q W_hn), q = f h_{t-1}:   dq = δ_n W_hnᵀ
    #   δ_f = (dh (n - h_{t-1}) + dq h_{t-1}) f (1 - f)
    #   ∂C/∂h_{t-1} = dh (1 - f) + dq f + δ_f W_hfᵀ
    w_f, w_n = jnp.split(params.w_h, 2, axis=-1)
    dh = carry_ct.h + y_ct
    delta_n = clip(dh * tape.f * (1 - tape.n * tape.n))
    dq = delta_n @ w_n.T
    df = dh * (tape.n - tape.h_tm1) + dq * tape.h_tm1
    delta_f = clip(df * tape.f * (1 - tape.f))
    carry_ct = MGUCarry(dh * (1 - tape.f) + dq * tape.f + delta_f @ w_f.T)
    return carry_ct, jnp.concatenate([delta_f, delta_n], axis=-1)


def _gradients_zhou(params: MGUParams, xs: Array, tapes: MGUTape, deltas: Array):
    # dW_x = Σ_t x_tᵀ δ_t,   dW_hf = Σ_t h_{t-1}ᵀ δ_f,   dW_hn = Σ_t (f h_{t-1})ᵀ δ_n,
    # db = Σ_t δ_t,   dx_t = δ_t W_xᵀ
    delta_f, delta_n = jnp.split(deltas, 2, axis=-1)
    w_f, w_n = sum_outer(tapes.h_tm1, delta_f), sum_outer(tapes.f * tapes.h_tm1, delta_n)
    w_h = jnp.concatenate([w_f, w_n], axis=-1)
    params_ct = MGUParams(sum_outer(xs, deltas), w_h, sum_bias(deltas), None)
    return params_ct, deltas @ params.w_x.T


def _forward_flax(params: MGUParams, carry: MGUCarry, z_t: Array):
    z_f, z_n = jnp.split(z_t, 2, axis=-1)
    s_f, s_n = jnp.split(carry.h @ params.w_h, 2, axis=-1)
    f = jax.nn.sigmoid(z_f + s_f)
    recurrent = None if params.b_hn is None else add_bias(s_n, params.b_hn)
    n = jnp.tanh(z_n + (s_n if recurrent is None else f * recurrent))
    h = (1 - f) * n + f * carry.h
    return (MGUCarry(h), h), MGUTape(f, n, carry.h, recurrent)


def _backward_flax(params: MGUParams, tape: MGUTape, carry_ct: MGUCarry, y_ct: Array, clip: Clip):
    # h_t = (1 - f) n + f h_{t-1}:        dh = ∂C/∂h_t,   δ_n = dh (1 - f)(1 - n²)
    # n = tanh(z_n + f q), q = h_{t-1} W_hn + b_hn:   ∂C/∂q = δ_n f   (δ_n without reset)
    #   δ_f = (dh (h_{t-1} - n) + δ_n q) f (1 - f)    (q = 0 without reset)
    #   ∂C/∂h_{t-1} = dh f + [δ_f, ∂C/∂q] W_hᵀ
    dh = carry_ct.h + y_ct
    delta_n = dh * (1 - tape.f) * (1 - tape.n * tape.n)
    df = dh * (tape.h_tm1 - tape.n)
    if tape.recurrent is not None:
        df = df + delta_n * tape.recurrent
    delta = clip(jnp.concatenate([df * tape.f * (1 - tape.f), delta_n], axis=-1))
    return MGUCarry(dh * tape.f + _at_product(delta, tape) @ params.w_h.T), delta


def _at_product(deltas: Array, tape: MGUTape) -> Array:
    """[δ_f, δ_n] -> [δ_f, ∂C/∂q]: the error at h_{t-1} W_h."""
    if tape.recurrent is None:
        return deltas
    delta_f, delta_n = jnp.split(deltas, 2, axis=-1)
    return jnp.concatenate([delta_f, delta_n * tape.f], axis=-1)


def _gradients_flax(params: MGUParams, xs: Array, tapes: MGUTape, deltas: Array):
    # dW_x = Σ_t x_tᵀ δ_t,   dW_h = Σ_t h_{t-1}ᵀ [δ_f, ∂C/∂q],   db = Σ_t δ_t,
    # db_hn = Σ_t ∂C/∂q,   dx_t = δ_t W_xᵀ
    products = _at_product(deltas, tapes)
    hidden = tapes.f.shape[-1]
    b_hn = None if tapes.recurrent is None else sum_bias(products[..., hidden:])
    params_ct = MGUParams(
        sum_outer(xs, deltas), sum_outer(tapes.h_tm1, products), sum_bias(deltas), b_hn
    )
    return params_ct, deltas @ params.w_x.T


_ZHOU = Rule(_project, _forward_zhou, _backward_zhou, _gradients_zhou)
_FLAX = Rule(_project, _forward_flax, _backward_flax, _gradients_flax)
