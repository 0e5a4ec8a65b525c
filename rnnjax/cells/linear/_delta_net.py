"""DeltaNet: a matrix of fast weights that the delta rule corrects at every step."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_positive_int
from rnnjax._dtypes import at_least_float32
from rnnjax._types import Array, Cell, Clip, Inputs, Linear, Rule, Structure
from rnnjax.cells._build import DType, draw, factory, float_dtype
from rnnjax.cells.initializers import Initializer, glorot
from rnnjax.cells.linear_algebra import affine, sum_bias, sum_outer

__all__ = ["DeltaNetCarry", "DeltaNetParams", "delta_net"]

_EPSILON = 1e-6  # under the root of a norm, so that the key of a zero input is zero


class DeltaNetParams(NamedTuple):
    """For E heads; in the last axis of a weight the heads lie side by side."""

    w_q: Array  # [D, E*K] queries
    w_k: Array  # [D, E*K] keys
    w_v: Array  # [D, E*V] values
    w_beta: Array  # [D, E] writing strengths
    b_beta: Array  # [E]


class DeltaNetCarry(NamedTuple):
    s: Array  # [..., E, K, V] fast weights


class DeltaNetInputs(NamedTuple):
    """What a step reads and writes with; in a δ_t the errors at these."""

    q: Array  # [..., E, K]
    k: Array  # [..., E, K]
    v: Array  # [..., E, V]
    beta: Array  # [..., E, 1]


class DeltaNetTape(NamedTuple):
    """Saved at every step: K V + 2K + V + 1 numbers for each example and head."""

    s_tm1: Array  # [..., E, K, V]
    inputs: DeltaNetInputs


@factory
def delta_net(
    key_size: int,
    value_size: int | None = None,
    *,
    heads: int = 1,
    beta_max: float = 1.0,
    w_x_init: Initializer | None = None,
    dtype: DType | None = None,
) -> Cell:
    """DeltaNet: linear attention whose memory matrix is written by the delta rule.

    In each head

        k = norm(x_t W_k),   q = norm(x_t W_q) / √K,   v = x_t W_v
        β = β_max σ(x_t W_β + b_β)
        S_t = S_{t-1} + β k (v - S_{t-1}ᵀ k)ᵀ
            = (I - β k kᵀ) S_{t-1} + β k vᵀ
        y_t = S_tᵀ q

    with norm(a) = a / √(a·a + ε), ε = 1e-6, and k, q, v as columns: what the memory S holds at the
    key k moves by the fraction β towards the value v. β = 1 replaces it, β = 0 leaves it, and what
    is held at keys orthogonal to k stays. The heads' outputs lie side by side in y_t.

    As |k| ≤ 1, I - β k kᵀ has the eigenvalues 1, K - 1 times, and 1 - β|k|²; with β_max ≤ 2 none
    is above 1 in size, and no error explodes. It does not depend on S, so the step is linear in S,
    with a matrix for its coefficient.

    This is the recurrence of the layer in flash-linear-attention, which normalises keys and queries
    as here, scales the queries by 1/√K, and has no b_β. What that layer puts around it is not part
    of the cell: short convolutions and SiLU before, an RMS norm and a projection after.

    Args:
      key_size: K, the size of a key and a query.
      value_size: V, the size of a value, and of one head's output; K if None.
      heads: E, how many memories run side by side, each with its own keys, queries and values.
      beta_max: β_max, the upper bound of β: above 0 and at most 2. With 2 the eigenvalue 1 - β
        can be negative, which tracking parity and the like needs.
      w_x_init: initialiser of W_q, W_k, W_v and W_β, each for all heads; Glorot uniform by default.
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` with `DeltaNetParams`, `DeltaNetCarry(s [..., E, K, V])`, outputs `[..., E*V]`, a
      hand-derived rule and a linear form. S starts at zero.

    Raises:
      ValueError: a size below 1, or beta_max outside (0, 2].

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.delta_net(4, 3, heads=2)
      >>> params = cell.init(jax.random.key(0), 5)
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((7, 5)))
      >>> ys.shape, carry.s.shape
      ((7, 6), (2, 4, 3))

    References:
      Schlag, Irie & Schmidhuber (2021), Linear transformers are secretly fast weight programmers,
      ICML, whose keys go through a feature map and are normalised by their sum.
      Yang, Wang, Zhang, Shen & Kim (2024), Parallelizing linear transformers with the delta rule
      over sequence length, NeurIPS.
      Grazzi, Siems, Zela, Franke, Hutter & Pontil (2025), Unlocking state-tracking in linear RNNs
      through negative eigenvalues, ICLR, for beta_max.
    """
    check_positive_int("key_size", key_size)
    value_size = check_positive_int("value_size", key_size if value_size is None else value_size)
    check_positive_int("heads", heads)
    if not 0 < beta_max <= 2:
        raise ValueError(
            f"beta_max is the upper bound of β, in (0, 2]: at 2 the memory at a key changes sign, "
            f"above it grows; got {beta_max}"
        )
    w_x_init = w_x_init or glorot()
    scale = 1 / math.sqrt(key_size)

    def init(key: Array, inputs: Inputs) -> DeltaNetParams:
        size, chosen = check_positive_int("input_size", inputs), float_dtype(dtype)
        widths = (heads * key_size, heads * key_size, heads * value_size, heads)
        keys = jax.random.split(key, len(widths))
        w_q, w_k, w_v, w_beta = (
            draw("w_x_init", w_x_init, k, (size, n), chosen)
            for k, n in zip(keys, widths, strict=True)
        )
        return DeltaNetParams(w_q, w_k, w_v, w_beta, jnp.zeros(heads, chosen))

    def initial_carry(
        params: DeltaNetParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> DeltaNetCarry:
        del key
        shape = (*batch_shape, heads, key_size, value_size)
        return DeltaNetCarry(jnp.zeros(shape, params.w_k.dtype))

    def by_head(x: Array) -> Array:
        return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)

    def project(params: DeltaNetParams, xs: Array) -> DeltaNetInputs:
        q, k, v, s_beta = map(by_head, _maps(params, xs))
        s_beta = s_beta + params.b_beta.reshape((1,) * (s_beta.ndim - 2) + (heads, 1))
        return DeltaNetInputs(
            scale * _normed(q)[0], _normed(k)[0], v, beta_max * jax.nn.sigmoid(s_beta)
        )

    def step(params: DeltaNetParams, carry: DeltaNetCarry, x_t: Array):
        return _forward(params, carry, project(params, x_t))[0]

    def coefficients(params: DeltaNetParams, xs: Array) -> tuple[DeltaNetCarry, DeltaNetCarry]:
        _, k, v, beta = project(params, xs)
        identity = jnp.eye(key_size, dtype=k.dtype)
        erased = _outer(beta * k, k)
        a = identity.reshape((1,) * (erased.ndim - 2) + identity.shape) - erased
        return DeltaNetCarry(a), DeltaNetCarry(_outer(beta * k, v))

    def readout(params: DeltaNetParams, carry: DeltaNetCarry, xs: Array) -> Array:
        return _read(carry.s, project(params, xs).q)

    def gradients(params: DeltaNetParams, xs: Array, tapes: DeltaNetTape, deltas: DeltaNetInputs):
        # n = norm(a) = a r with r = (a·a + ε)^-½:   ∂n_i/∂a_j = r (δ_ij - n_i n_j), so the error at
        #   a is r (n̄ - n (n·n̄)), for every ε
        # β = β_max σ(s):   ds = dβ β_max σ (1 - σ) = dβ β (1 - β / β_max)
        # With δ = [δ_q, δ_k, δ_v, δ_s], the errors at x_t [W_q, W_k, W_v, W_β]:
        #   dW = Σ_t x_tᵀ δ_t,   db_β = Σ_t δ_s,   dx_t = δ_t Wᵀ
        q, k, *_ = map(by_head, _maps(params, xs))
        beta = tapes.inputs.beta
        errors = (
            _through_norm(q, scale * deltas.q),
            _through_norm(k, deltas.k),
            deltas.v,
            deltas.beta * beta * (1 - beta / beta_max),
        )
        delta = jnp.concatenate([_side_by_side(e) for e in errors], axis=-1)
        w_q, w_k, w_v, w_beta = _split(params, sum_outer(xs, delta))
        params_ct = DeltaNetParams(w_q, w_k, w_v, w_beta, sum_bias(delta[..., -heads:]))
        return params_ct, delta @ _stacked(params).T

    queries, values = ("D", heads * key_size), ("D", heads * value_size)
    shapes = DeltaNetParams._make(
        (
            queries,
            queries,
            values,
            ("D", heads),
            (heads,),
        )
    )
    structure = Structure(
        params=shapes, form=("delta_net", beta_max), linear=Linear(coefficients, readout, "matrix")
    )
    rule = Rule(project, _forward, _backward, gradients)
    return Cell(init, initial_carry, step, rule, structure)


def _stacked(params: DeltaNetParams) -> Array:
    """[W_q, W_k, W_v, W_β], for one product."""
    return jnp.concatenate(params[:4], axis=-1)


def _split(params: DeltaNetParams, x: Array) -> list[Array]:
    """The four parts of x [..., G] that belong to W_q, W_k, W_v and W_β."""
    widths = [w.shape[-1] for w in params[:3]]
    return jnp.split(x, [widths[0], sum(widths[:2]), sum(widths)], axis=-1)


def _maps(params: DeltaNetParams, xs: Array) -> list[Array]:
    return _split(params, affine(xs, _stacked(params)))


def _dot(a: Array, b: Array) -> Array:
    """a·b over the last axis, in at least float32: [..., K] -> [..., 1]."""
    wide = at_least_float32(a)
    return jnp.sum(a.astype(wide) * b.astype(wide), axis=-1, keepdims=True)


def _normed(a: Array) -> tuple[Array, Array]:
    """norm(a) [..., K] and 1 / √(a·a + ε) [..., 1]; squares are taken of a / max(1, max |a_i|)."""
    wide = a.astype(at_least_float32(a))
    peak = jnp.max(jnp.abs(jax.lax.stop_gradient(wide)), axis=-1, keepdims=True)
    m = jnp.where(jnp.isfinite(peak), jnp.maximum(peak, 1.0), 1.0)
    scaled = wide / m
    r = jax.lax.rsqrt(_dot(scaled, scaled) + _EPSILON / m / m)
    return (scaled * r).astype(a.dtype), (r / m).astype(a.dtype)


def _through_norm(a: Array, n_ct: Array) -> Array:
    """The error at a, from that at n = norm(a)."""
    n, r = _normed(a)
    return r * (n_ct - n * _dot(n, n_ct).astype(n.dtype))


def _outer(a: Array, b: Array) -> Array:
    """a bᵀ: [..., K], [..., V] -> [..., K, V]."""
    return a[..., :, None] * b[..., None, :]


def _at(s: Array, k: Array) -> Array:
    """Sᵀ k, what S holds at k: [..., K, V], [..., K] -> [..., V]."""
    return jnp.einsum("...kv,...k->...v", s, k)


def _read(s: Array, q: Array) -> Array:
    """The heads' outputs Sᵀ q: [..., E, K, V], [..., E, K] -> [..., E*V]."""
    return _side_by_side(_at(s, q))


def _side_by_side(x: Array) -> Array:
    """What belongs to the heads in one axis: [..., E, K] -> [..., E*K]."""
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def _forward(params: DeltaNetParams, carry: DeltaNetCarry, z_t: DeltaNetInputs):
    del params
    correction = z_t.beta * (z_t.v - _at(carry.s, z_t.k))
    s = carry.s + _outer(z_t.k, correction)
    return (DeltaNetCarry(s), _read(s, z_t.q)), DeltaNetTape(carry.s, z_t)


def _backward(
    params: DeltaNetParams, tape: DeltaNetTape, carry_ct: DeltaNetCarry, y_ct: Array, clip: Clip
):
    # With S = S_{t-1}, e = v - Sᵀ k and S_t = S + β k eᵀ, and G = ∂C/∂S_t of [K, V] as S_t is:
    # From y_t = S_tᵀ q:         dC = qᵀ dS_t ȳ,   so G = ∂C/∂S_t|_{t+1} + q ȳᵀ and dq = S_t ȳ
    # From S_t = S + β k eᵀ:     dβ = kᵀ G e,   de = β Gᵀ k,   dk gets β G e
    # From e = v - Sᵀ k:         dv = de,   dk gets -S de,   dS gets -k deᵀ
    # To step t - 1:             ∂C/∂S_{t-1} = G - k deᵀ = (I - β k kᵀ) G
    # δ_t is the error at q, k, v and β; `gradients` takes it on through norm and σ. No error goes
    # through weights on its way back, so the clip acts on what reaches them alone, head by head.
    del params
    s, (q, k, v, beta) = tape
    y_ct = y_ct.reshape(v.shape)
    e = v - _at(s, k)
    g = carry_ct.s + _outer(q, y_ct)
    g_k = _at(g, k)
    dv = beta * g_k
    dq = jnp.einsum("...kv,...v->...k", s + _outer(k, beta * e), y_ct)
    dk = jnp.einsum("...kv,...v->...k", g, beta * e) - jnp.einsum("...kv,...v->...k", s, dv)
    dbeta = _dot(g_k, e).astype(e.dtype)
    delta = clip(jnp.concatenate([dq, dk, dv, dbeta], axis=-1))
    size = k.shape[-1]
    parts = jnp.split(delta, [size, 2 * size, delta.shape[-1] - 1], axis=-1)
    return DeltaNetCarry(g - _outer(k, dv)), DeltaNetInputs(*parts)
