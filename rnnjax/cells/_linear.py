"""The affine map that every cell projects its inputs with, and its gradients over a sequence."""

import jax
import jax.numpy as jnp

from rnnjax._types import Array


def affine(x: Array, w: Array, b: Array | None = None) -> Array:
    """x W + b over the last axis: x [..., D], w [D, G], b [G] -> [..., G].

    Raises:
      ValueError: x does not have the D features that w was initialised for.
    """
    check_features(x, w)
    z = x @ w
    return z if b is None else add_bias(z, b)


def add_bias(z: Array, b: Array) -> Array:
    """z [..., G] + b [G], with b's axes spelt out so that no rank is promoted."""
    return z + b.reshape((1,) * (z.ndim - 1) + b.shape)


def check_features(x: Array, w: Array) -> None:
    """Raise ValueError unless x [..., D] has the D features that w [D, G] was initialised for."""
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
    """Σ_t x_tᵀ δ_t over time and batch: xs [T, ..., D], deltas [T, ..., G] -> [D, G].

    One contraction, accumulated in float32 at least.
    """
    leading = tuple(range(deltas.ndim - 1))
    total = jax.lax.dot_general(
        xs, deltas, ((leading, leading), ((), ())), preferred_element_type=_wide(deltas)
    )
    return total.astype(deltas.dtype)


def sum_bias(deltas: Array) -> Array:
    """Σ_t δ_t over time and batch: deltas [T, ..., G] -> [G], accumulated in float32 at least."""
    leading = tuple(range(deltas.ndim - 1))
    return jnp.sum(deltas, axis=leading, dtype=_wide(deltas)).astype(deltas.dtype)


def _wide(x: Array) -> jnp.dtype:
    return jnp.promote_types(x.dtype, jnp.float32)
