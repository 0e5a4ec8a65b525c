"""The linear algebra that rules are written with: affine maps, convolutions and their gradients.

The sums over time and batch take all steps at once, `[T, ..., D]`, and accumulate in float32 at
least.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._checks import described, is_array, is_inexact
from rnnjax._dtypes import at_least_float32
from rnnjax._types import Array

__all__ = [
    "add_bias",
    "affine",
    "check_features",
    "convolve",
    "convolve_back",
    "joint_affine",
    "sum_bias",
    "sum_convolved",
    "sum_outer",
    "sum_product",
]


def affine(x: Array, w: Array, b: Array | None = None) -> Array:
    """x W + b over the last axis: x [..., D], w [D, G], b [G] -> [..., G].

    Raises:
      TypeError: x is not one array of real or complex numbers.
      ValueError: x does not have the D features that w was initialised for.
    """
    check_features(x, w)
    z = x @ w
    return z if b is None else add_bias(z, b)


def add_bias(z: Array, b: Array) -> Array:
    """z [..., G] + b [G], with b's axes spelt out so that no rank is promoted."""
    if not is_array(b) or not is_array(z) or b.shape != z.shape[-1:]:
        raise ValueError(f"b must be an array [G] for z [..., G], got {_both(b, z)}")
    return z + b.reshape((1,) * (z.ndim - 1) + b.shape)


def check_features(x: Any, w: Array) -> None:
    """Raise unless x [..., D] is an array with the D features that w [D, G] was initialised for.

    Raises:
      TypeError: x is a pytree, has integers or booleans, or is complex where w is real.
      ValueError: another number of features.
    """
    if not is_array(w) or w.ndim != 2:
        raise TypeError(f"w must be an array [D, G] of weights, got {described(w)}")
    if not is_array(x):
        raise TypeError(f"this cell reads one array a step, got {described(x)}")
    if jnp.iscomplexobj(x) and not jnp.iscomplexobj(w):
        raise TypeError(
            f"xs has dtype {x.dtype}: the weights are real, and read floating-point features. "
            "Pass real and imaginary parts side by side"
        )
    if not is_inexact(x):
        raise TypeError(
            f"xs has dtype {x.dtype}: cells read floating-point features. Embed token ids first "
            "(table[ids], or flax.linen.Embed), or cast numbers: xs.astype(float), / 255 for pixels"
        )
    if x.ndim == 0 or x.shape[-1] != w.shape[0]:
        raise ValueError(
            f"the input has shape {x.shape} but the cell's weights expect [..., {w.shape[0]}]: "
            f"pass inputs with {w.shape[0]} features last, or initialise the cell for these with "
            "cell.init(key, input_size)"
        )


def joint_affine(x: Array, h: Array, w_x: Array, w_h: Array, b: Array) -> Array:
    """[x, h] W + b with W = [w_x; w_h], in one product: [..., D] and [..., H] -> [..., G].

    A compiler that sees the loop stacks the weights once, ahead of it; under autodiff one
    gradient is accumulated a step instead of two.
    """
    check_features(x, w_x)
    return add_bias(jnp.concatenate([x, h], axis=-1) @ jnp.concatenate([w_x, w_h]), b)


def sum_outer(xs: Array, deltas: Array) -> Array:
    """Σ_t x_tᵀ δ_t over time and batch, in one contraction: [T, ..., D], [T, ..., G] -> [D, G]."""
    _check_sums("xs and deltas", xs, deltas)
    leading = tuple(range(deltas.ndim - 1))
    total = jax.lax.dot_general(
        xs, deltas, ((leading, leading), ((), ())), preferred_element_type=at_least_float32(deltas)
    )
    return total.astype(deltas.dtype)


def sum_bias(deltas: Array) -> Array:
    """Σ_t δ_t over time and batch: deltas [T, ..., G] -> [G]."""
    if not is_array(deltas) or deltas.ndim == 0:
        raise TypeError(f"deltas must be an array [T, ..., G], got {described(deltas)}")
    leading = tuple(range(deltas.ndim - 1))
    return jnp.sum(deltas, axis=leading, dtype=at_least_float32(deltas)).astype(deltas.dtype)


def sum_product(values: Array, deltas: Array) -> Array:
    """Σ_t v_t ⊙ δ_t over time and batch: both [T, ..., G] -> [G].

    The gradient of weights that multiply entry by entry: diagonal recurrence, peepholes.
    """
    _check_sums("values and deltas", values, deltas)
    leading = tuple(range(deltas.ndim - 1))
    wide = at_least_float32(deltas)
    return jnp.sum(values.astype(wide) * deltas.astype(wide), axis=leading).astype(deltas.dtype)


def convolve(x: Array, w: Array) -> Array:
    """The 2-D convolution of images x [..., height, width, C] with w [kh, kw, C, G], zero-padded.

        y[p] = Σ_q x[p + q - low] w[q],   low = (k - 1) // 2 in each direction

    The output [..., height, width, G] has the size of the image ("SAME" padding). As everywhere in
    neural networks the kernel is not flipped.
    """
    return _convolve(x, w, _margins(w))


def convolve_back(delta: Array, w: Array) -> Array:
    """∂C/∂x of `convolve(x, w)`, from δ = ∂C/∂y [..., height, width, G].

        ∂C/∂x[r] = Σ_q δ[r - q + low] w[q]ᵀ

    With q' = k - 1 - q this is a convolution with the kernel turned by 180°, input and output
    features exchanged, and the margins before and after the image exchanged.
    """
    turned = jnp.flip(w, (0, 1)).swapaxes(2, 3)
    return _convolve(delta, turned, [(high, low) for low, high in _margins(w)])


def sum_convolved(xs: Array, deltas: Array, kernel: tuple[int, ...]) -> Array:
    """∂C/∂w of `convolve(x, w)` summed over time and batch: a kernel [kh, kw, C, G].

        ∂C/∂w[q] = Σ_t Σ_p x_t[p + q - low]ᵀ δ_t[p]

    One convolution of xs [T, ..., height, width, C], with its features for a batch and all
    examples of all steps for features, with deltas [T, ..., height, width, G] for a kernel.
    """
    wide = at_least_float32(deltas)
    total = jax.lax.conv_general_dilated(
        _as_batch(xs).astype(wide),
        _as_batch(deltas).astype(wide),
        window_strides=(1, 1),
        padding=[_margin(k) for k in kernel],
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
    )
    return total.astype(deltas.dtype)


def _convolve(x: Array, w: Array, padding: list[tuple[int, int]]) -> Array:
    y = jax.lax.conv_general_dilated(
        _as_batch(x),
        w,
        (1, 1),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        preferred_element_type=at_least_float32(x),
    )
    return y.astype(x.dtype).reshape(*x.shape[:-1], w.shape[-1])


def _as_batch(x: Array) -> Array:
    """Time and batch in one axis: [..., height, width, C] -> [N, height, width, C]."""
    return x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])


def _margins(w: Array) -> list[tuple[int, int]]:
    return [_margin(k) for k in w.shape[:2]]


def _margin(k: int) -> tuple[int, int]:
    """Zeros before and after an image, so that a kernel of size k keeps its size."""
    return (k - 1) // 2, k - 1 - (k - 1) // 2


def _both(a: Any, b: Any) -> str:
    return f"{described(a)} and {described(b)}"


def _check_sums(name: str, values: Any, deltas: Any) -> None:
    """Raise unless both are arrays [T, ..., features] with the same axes but the last."""
    if not (is_array(values) and is_array(deltas)) or values.shape[:-1] != deltas.shape[:-1]:
        raise ValueError(
            f"{name} must be arrays [T, ..., D] and [T, ..., G], got {_both(values, deltas)}"
        )
