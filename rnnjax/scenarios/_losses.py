"""Masked losses: optax's, with padding excluded from every value and gradient."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._checks import (
    check_array,
    check_choice,
    check_lengths,
    check_nonnegative_int,
    check_number,
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


def cross_entropy(
    logits: Array,
    labels: Array,
    valid: Array | None = None,
    *,
    label_smoothing: float | Array = 0.0,
    reduction: str = "mean",
) -> Array:
    """The mean cross-entropy, -ln p(label) in nats, over the valid entries.

        c = -(1 - α) ln softmax(logits)[label] - α/K Σ_k ln softmax(logits)[k];   C = 1/N Σ c

    Args:
      logits: `[..., K]`.
      labels: `[...]` integers in 0..K-1; inside `jit` the cost of any other is NaN.
      valid: `[...]` booleans; entries that are not valid have no influence, whatever they hold.
        None: all are valid.
      label_smoothing: α in [0, 1], the share of a label that is spread evenly over the K classes.
      reduction: "mean", "sum" or "none", which returns the cost of each entry. Those of a sequence
        `[T, B]` add up to one for each: `cross_entropy(..., reduction="none").sum(axis=0)`.

    Returns:
      A scalar, 0 where nothing is valid; or costs `[...]`, 0 where an entry is not.

    Raises:
      TypeError: complex logits, labels that are not integers, or a mask that is not boolean.
      ValueError: shapes that do not fit, no classes, labels that are none of them, a
        label_smoothing outside [0, 1], or an unknown reduction.

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
    check_reduction(reduction)
    smoothing = None  # for with one, no class may have probability zero
    if isinstance(label_smoothing, Tracer) or _checked_share(label_smoothing) != 0:
        smoothing = label_smoothing
    return _cross_entropy(logits, labels, valid, smoothing, reduction)


def _checked_share(label_smoothing: float | Array) -> float | Array:
    if not 0 <= check_number("label_smoothing", label_smoothing) <= 1:
        raise ValueError(f"label_smoothing is a share in [0, 1], got {label_smoothing}")
    return label_smoothing


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


@partial(jax.jit, static_argnums=4)
def _cross_entropy(
    logits: Array,
    labels: Array,
    valid: Array | None,
    smoothing: float | Array | None,
    reduction: str,
) -> Array:
    import optax

    logits = in_float32_at_least(logits)
    if valid is not None:
        logits = select(valid, logits, zeros_like(logits))
        labels = jnp.where(valid, labels, 0)
    labels = labels.astype(promoted(labels, jnp.int32))  # wide enough for K
    labels = jnp.where(labels < 0, logits.shape[-1], labels)  # else they count from the end
    costs = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    if smoothing is not None:
        share = jnp.asarray(smoothing, costs.dtype)
        spread = -jnp.mean(jax.nn.log_softmax(logits), axis=-1)
        costs = (1 - share) * costs + jnp.where(share > 0, share * spread, 0.0)
    return reduced(costs, valid, reduction)


def squared_error(
    outputs: Array, targets: Array, valid: Array | None = None, *, reduction: str = "mean"
) -> Array:
    """The mean squared error over the valid entries and over the features.

        c = 1/D Σ_d |outputs - targets|²;   C = 1/N Σ c

    Args:
      outputs: `[..., D]`, real or complex.
      targets: of the same shape.
      valid, reduction: as for `cross_entropy`.

    Returns:
      A scalar, or costs `[...]`, as `cross_entropy`.

    Raises:
      TypeError: a mask that is not boolean.
      ValueError: shapes that do not fit, or an unknown reduction.

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
    check_reduction(reduction)
    return _squared_error(outputs, targets, valid, reduction)


@partial(jax.jit, static_argnums=3)
def _squared_error(outputs: Array, targets: Array, valid: Array | None, reduction: str) -> Array:
    outputs, targets = in_float32_at_least(outputs), in_float32_at_least(targets)
    if valid is not None:
        outputs = select(valid, outputs, zeros_like(outputs))
        targets = select(valid, targets, zeros_like(targets))
    dtype = promoted(outputs, targets)
    errors = outputs.astype(dtype) - targets.astype(dtype)
    squares = errors.real**2 + errors.imag**2 if jnp.iscomplexobj(errors) else errors**2
    costs = jnp.sum(squares, axis=-1) / max(squares.shape[-1], 1)
    return reduced(costs, valid, reduction)


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


def check_reduction(reduction: str) -> None:
    """Raise ValueError unless `reduced` knows it."""
    check_choice("reduction", reduction, ("mean", "sum", "none"))


def reduced(costs: Array, valid: Array | None, reduction: str) -> Array:
    """The mean or sum of the costs of valid entries; "none": each of them, 0 for the others."""
    count = max(costs.size, 1)
    if valid is not None:
        costs = jnp.where(valid, costs, jax.lax.stop_gradient(jnp.zeros_like(costs)))
        count = jnp.maximum(jnp.sum(valid), 1).astype(costs.dtype)
    if reduction == "none":
        return costs
    total = jnp.sum(costs)
    return total if reduction == "sum" else total / count
