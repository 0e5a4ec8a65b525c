"""Euclidean norms without intermediate overflow or underflow."""

from functools import partial

import jax
import jax.numpy as jnp

from rnnjax._arguments import checked_arguments
from rnnjax._types import Array, Carry
from rnnjax.flow._float64 import keeping_float64
from rnnjax.flow._record import Recording
from rnnjax.running import chosen_leaves, leaf_indices, pack


@keeping_float64
def gradient_norms(recording: Recording | Carry, leaf: str | None = None) -> Array:
    """Gradient norms ‖∂C/∂carry_t‖ at every step, for every example: Euclidean, over features.

    Squares are taken of scaled numbers, so that a gradient of 1e-200 does not underflow.

    Args:
      recording: the `Recording` returned by `record`, which knows which axes are batch: all other
        axes after time are features, be they of a vector, an image or a matrix memory. Or a carry
        of gradients whose leaves all have exactly one feature axis, `[T, ..., H]`.
      leaf: the name of a field, such as "h", in every cell that has it, or a place, such as
        "[0].h"; None for the whole carry.

    Returns:
      Norms `[T, ...]`, in the dtype of the gradients, at least float32.

    Raises:
      TypeError: a `leaf` that is not a string.
      ValueError: an unknown field, leaves without a common `[T, ...]`, or a bare carry whose leaves
        have different numbers of axes, whose batch axes are ambiguous.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> carry_ct = rnnjax.LSTMCarry(h=jnp.full((5, 1), 3.0), c=jnp.full((5, 1), 4.0))
      >>> float(rnnjax.flow.gradient_norms(carry_ct)[0])
      5.0
      >>> float(rnnjax.flow.gradient_norms(carry_ct, "h")[0])
      3.0
    """
    known = isinstance(recording, Recording)
    carry_ct = recording.carry_ct if known else recording
    every = chosen_leaves(carry_ct, leaf_indices(carry_ct, None))
    leaves = chosen_leaves(carry_ct, leaf_indices(carry_ct, leaf))
    leading = 1 + recording.batch_ndim if known else min(jnp.ndim(x) for x in every) - 1
    shapes = {jnp.shape(x)[:leading] for x in every}
    if leading < 1 or len(shapes) > 1 or not (known or len({jnp.ndim(x) for x in every}) == 1):
        raise ValueError(
            "carry_ct must have leaves [T, ..., H] that agree in [T, ...] and in one feature axis, "
            f"got {', '.join(str(jnp.shape(x)) for x in every)}: for other carries pass the "
            "Recording that record(...) returns, which knows the batch axes"
        )
    return features_norm(leaves, leading)


@keeping_float64
@checked_arguments
def features_norm(leaves: list[Array], leading: int) -> Array:
    """The Euclidean norm over feature axes, of all leaves together, without overflow or underflow.

    Args:
      leaves: arrays that agree in their first `leading` axes, `[..., *features]`; a complex number
        counts as two real ones.
      leading: how many axes at the front to keep.

    Returns:
      Norms of the leading shape, in the dtype of the leaves, at least float32. Differentiable.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> leaves = [jnp.full((2, 1), 3.0), jnp.full((2, 1, 1), 4.0)]
      >>> rnnjax.flow.features_norm(leaves, 1).tolist()
      [5.0, 5.0]
    """
    return _features_norm([jnp.asarray(x) for x in leaves], leading)


@partial(jax.jit, static_argnums=1)
def _features_norm(leaves: list[Array], leading: int) -> Array:
    joined = pack(leaves, leading)
    peak = jax.lax.stop_gradient(jnp.max(jnp.abs(joined), axis=-1, initial=0.0))
    scale = jnp.where((peak > 0) & jnp.isfinite(peak), peak, 1.0)
    return jnp.sqrt(jnp.sum((joined / scale[..., None]) ** 2, axis=-1)) * scale
