"""Masked losses: optax's, with padding excluded from every value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._checks import (
    check_array,
    check_lengths,
    check_nonnegative_int,
    check_real,
    is_inexact,
)
from rnnjax._dtypes import at_least_float32, promoted
from rnnjax._types import Array
from rnnjax.running import select, within, zeros_like


def valid_steps(lengths: Array, steps: int) -> Array:
    """A mask over right-padded sequences: True at the valid steps, False in the padding.

        valid_t = t < length        t = 0 … T - 1

    Args:
      lengths: `[...]` integers in 0..T.
      steps: T.

    Returns:
      `[T, ...]` booleans.

    Raises:
      TypeError: lengths or steps that are not integers.
      ValueError: lengths outside 0..T, or steps below 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax import scenarios
      >>> scenarios.valid_steps(jnp.array([2, 3]), 3).astype(int).tolist()
      [[1, 1], [1, 1], [0, 1]]
    """
    steps = check_nonnegative_int("steps", steps)
    lengths = check_array("lengths", lengths, "[...], one length for each sequence")
    return within(check_lengths(lengths, steps, lengths.shape), steps)


def cross_entropy(logits: Array, labels: Array, valid: Array | None = None) -> Array:
    """The mean cross-entropy, -ln p(label) in nats, over the valid entries.

        C = -1/N Σ ln softmax(logits)[label]

    Args:
      logits: `[..., K]`.
      labels: `[...]` integers in 0..K-1; inside `jit` the cost of any other is NaN.
      valid: `[...]` booleans; entries that are not valid have no influence, whatever they hold.
        None: all are valid.

    Returns:
      A scalar; 0 where nothing is valid.

    Raises:
      TypeError: complex logits, labels that are not integers, or a mask that is not boolean.
      ValueError: shapes that do not fit, no classes, or labels that are none of them.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax import scenarios
      >>> cost = scenarios.cross_entropy(jnp.zeros((3, 2, 4)), jnp.ones((3, 2), int))
      >>> round(float(cost), 4)                          # ln 4
      1.3863
    """
    logits = check_real("logits", check_array("logits", logits, "[..., K]"))
    labels = check_labels(labels, "[...]")
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits have shape {logits.shape}: expected [..., K], classes last")
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels have shape {labels.shape}, expected {logits.shape[:-1]}: that of the logits "
            f"{logits.shape} without the classes"
        )
    valid = None if valid is None else _checked_mask(valid, labels.shape)
    check_values(labels, valid, logits.shape[-1], None)
    return _cross_entropy(logits, labels, valid)


def check_values(labels: Array, valid: Array | None, classes: int, blank: int | None) -> None:
    """Raise ValueError for labels that are none of the classes, where they are known."""
    if isinstance(labels, Tracer) or isinstance(valid, Tracer):
        return
    read = np.asarray(labels) if valid is None else np.asarray(labels)[np.asarray(valid)]
    if read.size and (read.min() < 0 or read.max() >= classes):
        leave_out = "valid=, such as valid=labels >= 0" if blank is None else "label_lengths"
        raise ValueError(
            f"labels must lie in 0..{classes - 1}, got values from {read.min()} to {read.max()}: "
            f"entries to leave out are said by {leave_out}"
        )
    if blank is not None and np.any(read == blank):
        raise ValueError(f"labels must not be the blank, {blank}: it stands between them by itself")


@jax.jit
def _cross_entropy(logits: Array, labels: Array, valid: Array | None) -> Array:
    import optax

    logits = in_float32_at_least(logits)
    if valid is not None:
        logits = select(valid, logits, zeros_like(logits))
        labels = jnp.where(valid, labels, 0)
    labels = labels.astype(promoted(labels, jnp.int32))  # wide enough for K
    labels = jnp.where(labels < 0, logits.shape[-1], labels)  # else they count from the end
    return mean_of(optax.softmax_cross_entropy_with_integer_labels(logits, labels), valid)


def squared_error(outputs: Array, targets: Array, valid: Array | None = None) -> Array:
    """The mean squared error over the valid entries and over the features.

        C = 1/(N D) Σ |outputs - targets|²

    Args:
      outputs: `[..., D]`, real or complex.
      targets: of the same shape.
      valid: `[...]` booleans, as for `cross_entropy`.

    Returns:
      A scalar; 0 where nothing is valid.

    Raises:
      TypeError: a mask that is not boolean.
      ValueError: shapes that do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax import scenarios
      >>> float(scenarios.squared_error(jnp.ones((5, 2, 1)), jnp.zeros((5, 2, 1))))
      1.0
    """
    outputs = check_array("outputs", outputs, "[..., D]")
    targets = check_array("targets", targets, "[..., D]")
    if outputs.ndim == 0:
        raise ValueError("outputs is a scalar: expected [..., D], features last")
    if outputs.shape != targets.shape:
        raise ValueError(
            f"outputs have shape {outputs.shape} but the targets {targets.shape}: expected one "
            "target for each output"
        )
    valid = None if valid is None else _checked_mask(valid, outputs.shape[:-1])
    return _squared_error(outputs, targets, valid)


@jax.jit
def _squared_error(outputs: Array, targets: Array, valid: Array | None) -> Array:
    outputs, targets = in_float32_at_least(outputs), in_float32_at_least(targets)
    if valid is not None:
        outputs = select(valid, outputs, zeros_like(outputs))
        targets = select(valid, targets, zeros_like(targets))
    dtype = promoted(outputs, targets)
    errors = outputs.astype(dtype) - targets.astype(dtype)
    squares = errors.real**2 + errors.imag**2 if jnp.iscomplexobj(errors) else errors**2
    return mean_of(jnp.sum(squares, axis=-1) / max(squares.shape[-1], 1), valid)


def check_labels(labels: Array, form: str) -> Array:
    labels = check_array("labels", labels, form)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels have dtype {labels.dtype}: expected the integer ids of classes")
    return labels


def in_float32_at_least(x: Array) -> Array:
    return x.astype(at_least_float32(x)) if is_inexact(x) else x.astype(float)


def _checked_mask(valid: Array, shape: tuple[int, ...]) -> Array:
    valid = check_array("valid", valid, "of booleans, such as valid_steps(lengths, T)")
    if jnp.result_type(valid) != jnp.bool_:
        raise TypeError(
            f"valid has dtype {jnp.result_type(valid)}: expected booleans, such as "
            "valid_steps(lengths, T)"
        )
    if jnp.shape(valid) != shape:
        raise ValueError(f"valid has shape {jnp.shape(valid)}, expected {shape}")
    return jnp.asarray(valid)


def mean_of(costs: Array, valid: Array | None) -> Array:
    if valid is None:
        return jnp.sum(costs) / max(costs.size, 1)
    costs = jnp.where(valid, costs, jax.lax.stop_gradient(jnp.zeros_like(costs)))
    return jnp.sum(costs) / jnp.maximum(jnp.sum(valid), 1).astype(costs.dtype)
