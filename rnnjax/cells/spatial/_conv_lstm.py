"""The convolutional LSTM on images."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_positive_int, described, is_array, is_inexact
from rnnjax._types import Array, Cell, Clip, Inputs, Rule, Structure
from rnnjax.cells._build import DType, draw, factory, float_dtype
from rnnjax.cells.initializers import Initializer, glorot, orthogonal
from rnnjax.cells.linear_algebra import (
    add_bias,
    convolve,
    convolve_back,
    sum_bias,
    sum_convolved,
)

__all__ = ["ConvLSTMCarry", "ConvLSTMParams", "conv_lstm"]


class ConvLSTMParams(NamedTuple):
    """Gates side by side in the last axis, in the order i, f, g, o; kernels kh × kw."""

    w_x: Array  # [kh, kw, C, 4F]
    w_h: Array  # [kh, kw, F, 4F]
    b: Array  # [4F]


class ConvLSTMCarry(NamedTuple):
    h: Array  # [..., height, width, F] hidden state
    c: Array  # [..., height, width, F] cell state


class ConvLSTMTape(NamedTuple):
    """Saved at every step: 6F numbers for each pixel; c_t is recomputed from them."""

    gates: Array  # [..., height, width, 4F] i, f, g, o after their activations
    h_tm1: Array  # [..., height, width, F]
    c_tm1: Array  # [..., height, width, F]


@factory
def conv_lstm(
    features: int,
    size: tuple[int, int],
    kernel: tuple[int, int] = (3, 3),
    *,
    forget_bias: float = 1.0,
    w_x_init: Initializer | None = None,
    w_h_init: Initializer | None = None,
    dtype: DType | None = None,
) -> Cell:
    """The 2-D convolutional LSTM (ConvLSTM): an LSTM at every pixel that reads its neighbourhood.

        [z_i, z_f, z_g, z_o] = x_t ∗ W_x + h_{t-1} ∗ W_h + b
        i, f, o = σ(z_i), σ(z_f), σ(z_o);   g = tanh(z_g)
        c_t = f ⊙ c_{t-1} + i ⊙ g
        h_t = o ⊙ tanh(c_t)
        y_t = h_t

    ∗ is a convolution that keeps the image's size, with zeros around it ("SAME" padding). The
    paper's peepholes are left out, as in Keras and Flax.

    The size of the images is an argument because the initial state has it and the weights do not:
    the same params also run in `conv_lstm(features, another_size, kernel)`.

    Args:
      features: F, the number of memory cells at every pixel.
      size: (height, width) of the images.
      kernel: (kh, kw), the neighbourhood that W_x and W_h read.
      forget_bias: where the forget gate's bias starts.
      w_x_init: initialiser of each gate's block of W_x, [kh, kw, C, F]; Glorot uniform by default.
      w_h_init: initialiser of each gate's block of W_h, [kh, kw, F, F]; by default orthogonal, as
        a matrix [kh·kw·F, F].
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` with `ConvLSTMParams`, `ConvLSTMCarry(h, c)` and a hand-derived rule. It reads images
      x_t [..., height, width, C]; `init` takes (height, width, C).

    Raises:
      TypeError: size or kernel is no pair of ints.
      ValueError: one of them, or features, is below 1; in `init` and when it runs, images of
        another size or number of channels.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.conv_lstm(3, (8, 6))
      >>> params = cell.init(jax.random.key(0), (8, 6, 2))
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((5, 8, 6, 2)))
      >>> ys.shape, params.w_x.shape
      ((5, 8, 6, 3), (3, 3, 2, 12))

    References:
      Shi, Chen, Wang, Yeung, Wong & Woo (2015), Convolutional LSTM network: a machine learning
      approach for precipitation nowcasting, NeurIPS.
    """
    check_positive_int("features", features)
    size, kernel = _check_pair("size", size), _check_pair("kernel", kernel)
    w_x_init, w_h_init = w_x_init or glorot(), w_h_init or orthogonal()

    def init(key: Array, inputs: Inputs) -> ConvLSTMParams:
        channels, chosen = _channels(inputs, size), float_dtype(dtype)
        key_x, key_h = jax.random.split(key)

        def blocks(name: str, key: Array, channels: int, init: Initializer) -> Array:
            shape, keys = (*kernel, channels, features), jax.random.split(key, 4)
            return jnp.concatenate([draw(name, init, k, shape, chosen) for k in keys], -1)

        b = jnp.zeros(4 * features, chosen).at[features : 2 * features].set(forget_bias)
        return ConvLSTMParams(
            blocks("w_x_init", key_x, channels, w_x_init),
            blocks("w_h_init", key_h, features, w_h_init),
            b,
        )

    def initial_carry(
        params: ConvLSTMParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> ConvLSTMCarry:
        del key
        zeros = jnp.zeros((*batch_shape, *size, features), params.w_h.dtype)
        return ConvLSTMCarry(zeros, jnp.zeros_like(zeros))

    def project(params: ConvLSTMParams, xs: Array) -> Array:
        _check_images(xs, size, params.w_x)
        return add_bias(convolve(xs, params.w_x), params.b)

    def step(params: ConvLSTMParams, carry: ConvLSTMCarry, x_t: Array):
        # [x, h] ∗ W with W = [W_x; W_h], in one convolution, as in `linear_algebra.joint_affine`.
        _check_images(x_t, size, params.w_x)
        w = jnp.concatenate([params.w_x, params.w_h], axis=2)
        z = convolve(jnp.concatenate([x_t, carry.h], axis=-1), w)
        return _update(carry, add_bias(z, params.b))[0]

    shapes = ConvLSTMParams._make(
        (
            (*kernel, "C", 4 * features),
            (*kernel, features, 4 * features),
            (4 * features,),
        )
    )
    structure = Structure(
        params=shapes, form="conv_lstm", feature_axes=3, through_weights=("h",), output="h"
    )
    return Cell(
        init, initial_carry, step, Rule(project, _forward, _backward, _gradients), structure
    )


def _update(carry: ConvLSTMCarry, z: Array) -> tuple[tuple[ConvLSTMCarry, Array], ConvLSTMTape]:
    """The step after its convolutions: z [..., 4F] holds z_i, z_f, z_g, z_o."""
    z_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
    i, f, o = jax.nn.sigmoid(z_i), jax.nn.sigmoid(z_f), jax.nn.sigmoid(z_o)
    g = jnp.tanh(z_g)
    c = f * carry.c + i * g
    h = o * jnp.tanh(c)
    return (ConvLSTMCarry(h, c), h), ConvLSTMTape(
        jnp.concatenate([i, f, g, o], -1), carry.h, carry.c
    )


def _forward(
    params: ConvLSTMParams, carry: ConvLSTMCarry, z_t: Array
) -> tuple[tuple[ConvLSTMCarry, Array], ConvLSTMTape]:
    return _update(carry, z_t + convolve(carry.h, params.w_h))


def _backward(
    params: ConvLSTMParams, tape: ConvLSTMTape, carry_ct: ConvLSTMCarry, y_ct: Array, clip: Clip
) -> tuple[ConvLSTMCarry, Array]:
    # At every pixel as in the LSTM. From h_t = o tanh(c_t) and c_t = f c_{t-1} + i g:
    #   dh = ∂C/∂h_t|_{t+1} + ∂C/∂y_t,   dc = ∂C/∂c_t|_{t+1} + dh o (1 - tanh²c_t)
    #   di = dc g,   df = dc c_{t-1},   dg = dc i,   do = dh tanh(c_t)
    # Through σ' = σ(1 - σ) and tanh' = 1 - tanh²:   δ_t = [δ_i, δ_f, δ_g, δ_o]
    # Each h_{t-1}[r] was read by all pixels whose neighbourhood it is in, so its error is the
    # transposed convolution ∂C/∂h_{t-1}[r] = Σ_q δ_t[r - q + low] W_h[q]ᵀ; and ∂C/∂c_{t-1} = dc f.
    i, f, g, o = jnp.split(tape.gates, 4, axis=-1)
    tanh_c = jnp.tanh(f * tape.c_tm1 + i * g)
    dh = carry_ct.h + y_ct
    dc = carry_ct.c + dh * o * (1 - tanh_c * tanh_c)
    delta_i = dc * g * i * (1 - i)
    delta_f = dc * tape.c_tm1 * f * (1 - f)
    delta_g = dc * i * (1 - g * g)
    delta_o = dh * tanh_c * o * (1 - o)
    delta = clip(jnp.concatenate([delta_i, delta_f, delta_g, delta_o], axis=-1))
    return ConvLSTMCarry(convolve_back(delta, params.w_h), dc * f), delta


def _gradients(
    params: ConvLSTMParams, xs: Array, tapes: ConvLSTMTape, deltas: Array
) -> tuple[ConvLSTMParams, Array]:
    # With sums over steps, examples and pixels p, and [p + q - low] for what kernel entry q reads:
    #   dW_x[q] = Σ x_t[p + q - low]ᵀ δ_t[p],   dW_h[q] = Σ h_{t-1}[p + q - low]ᵀ δ_t[p]
    #   db = Σ δ_t[p],   dx_t[r] = Σ_q δ_t[r - q + low] W_x[q]ᵀ
    kernel = params.w_x.shape[:2]
    params_ct = ConvLSTMParams(
        sum_convolved(xs, deltas, kernel),
        sum_convolved(tapes.h_tm1, deltas, kernel),
        sum_bias(deltas),
    )
    return params_ct, convolve_back(deltas, params.w_x)


def _check_pair(name: str, value: Any) -> tuple[int, int]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{name} must be a pair of ints, (height, width), got {value!r}")
    height, width = value
    return check_positive_int(f"{name}[0]", height), check_positive_int(f"{name}[1]", width)


def _channels(inputs: Inputs, size: tuple[int, int]) -> int:
    """C, from the features (height, width, C) of the images."""
    if not isinstance(inputs, tuple | list) or len(inputs) != 3:
        raise ValueError(
            f"images have the features (height, width, channels), here ({size[0]}, {size[1]}, C): "
            f"pass these to cell.init, got {inputs!r}"
        )
    if tuple(inputs[:2]) != size:
        raise ValueError(
            f"this conv_lstm was made for images of size {size}, got {tuple(inputs[:2])}: make it "
            f"with conv_lstm(features, {tuple(inputs[:2])})"
        )
    return check_positive_int("channels", inputs[2])


def _check_images(x: Any, size: tuple[int, int], w_x: Array) -> None:
    """Raise unless x is an array [..., height, width, C] that this cell was made for."""
    if not is_array(x):
        raise TypeError(f"this cell reads one array a step, got {described(x)}")
    if not is_inexact(x) or jnp.iscomplexobj(x):
        raise TypeError(
            f"xs has dtype {x.dtype}: cells read floating-point features. Cast pixels with "
            "xs.astype(float)"
        )
    expected = (*size, w_x.shape[2])
    if x.shape[-3:] != expected:
        raise ValueError(
            f"the input has shape {x.shape} but the cell expects images [..., {expected[0]}, "
            f"{expected[1]}, {expected[2]}]: height, width and channels last"
        )
