"""Masked losses: optax's, with padding excluded from every value and gradient."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._checks import (
    check_array,
    check_flag,
    check_index,
    check_lengths,
    check_nonnegative_int,
    check_real,
    is_inexact,
)
from rnnjax._dtypes import at_least_float32, promoted, standard_promotion
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
    labels = _check_labels(labels, "[...]")
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits have shape {logits.shape}: expected [..., K], classes last")
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels have shape {labels.shape}, expected {logits.shape[:-1]}: that of the logits "
            f"{logits.shape} without the classes"
        )
    valid = None if valid is None else _checked_mask(valid, labels.shape)
    _check_values(labels, valid, logits.shape[-1], None)
    return _cross_entropy(logits, labels, valid)


def _check_values(labels: Array, valid: Array | None, classes: int, blank: int | None) -> None:
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

    logits = _at_least_float32(logits)
    if valid is not None:
        logits = select(valid, logits, zeros_like(logits))
        labels = jnp.where(valid, labels, 0)
    labels = labels.astype(promoted(labels, jnp.int32))  # wide enough for K
    labels = jnp.where(labels < 0, logits.shape[-1], labels)  # else they count from the end
    return _mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels), valid)


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
    outputs, targets = _at_least_float32(outputs), _at_least_float32(targets)
    if valid is not None:
        outputs = select(valid, outputs, zeros_like(outputs))
        targets = select(valid, targets, zeros_like(targets))
    dtype = promoted(outputs, targets)
    errors = outputs.astype(dtype) - targets.astype(dtype)
    squares = errors.real**2 + errors.imag**2 if jnp.iscomplexobj(errors) else errors**2
    return _mean(jnp.sum(squares, axis=-1) / max(squares.shape[-1], 1), valid)


def ctc(
    logits: Array,
    lengths: Array,
    labels: Array,
    label_lengths: Array,
    *,
    blank: int = 0,
    zero_infinity: bool = False,
) -> Array:
    """Connectionist temporal classification (CTC): a loss for labels without an alignment.

        C = -1/B Σ_b ln Σ_π Π_t softmax(logits_t)[π_t]

    summed over all alignments π of each sequence's T_b steps that become its labels when
    repeated symbols are merged and then blanks are dropped.

    Args:
      logits: `[T, B, K]`, with the blank among the K classes.
      lengths: `[B]` the steps of each sequence.
      labels: `[L, B]` integers in 0..K-1 without the blank; inside `jit` the cost of any other is
        NaN.
      label_lengths: `[B]` the labels of each sequence. Labels that need more steps than there
        are (one each, and one more between two that are equal), or a class whose logit is -inf,
        have probability zero: their cost is infinite, their gradient zero.
      blank: which class is the blank.
      zero_infinity: count infinite costs as zero, as PyTorch's option of this name does.

    Returns:
      A scalar, the mean over sequences.

    Raises:
      TypeError: complex logits; labels, lengths or a blank that are not integers.
      ValueError: shapes that do not fit, lengths outside 0..T and 0..L, or labels that are none.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax import scenarios
      >>> logits = jnp.zeros((2, 1, 3))                    # T = 2: 9 paths, equally likely
      >>> labels = jnp.array([[1]])                        # spelled by 1 1, 0 1 and 1 0
      >>> cost = scenarios.ctc(logits, jnp.array([2]), labels, jnp.array([1]))
      >>> round(float(jnp.exp(-cost)), 4)
      0.3333

    References:
      Graves, Fernández, Gomez & Schmidhuber (2006), Connectionist temporal classification:
      labelling unsegmented sequence data with recurrent neural networks, ICML.
    """
    logits = check_real("logits", check_array("logits", logits, "[T, B, K]"))
    labels = _check_labels(labels, "[L, B]")
    _check_ctc(logits, labels)
    blank = check_index("blank", blank, logits.shape[-1], "classes")
    check_flag("zero_infinity", zero_infinity)
    lengths = check_lengths(lengths, len(logits), labels.shape[1:])
    label_lengths = check_lengths(label_lengths, len(labels), labels.shape[1:])
    _check_values(labels, within(label_lengths, len(labels)), logits.shape[-1], blank)
    return _ctc(logits, lengths, labels, label_lengths, blank, zero_infinity)


_ZERO = -1e30  # for the logarithm of zero, finite, since 0 · -inf is NaN


@partial(jax.jit, static_argnums=(4, 5))
def _ctc(
    logits: Array,
    lengths: Array,
    labels: Array,
    label_lengths: Array,
    blank: int,
    zero_infinity: bool,
) -> Array:
    import optax

    logits = _at_least_float32(logits)
    steps, batch, classes = logits.shape
    valid = within(lengths, steps)
    labelled = within(label_lengths, len(labels))
    wrong = labelled & ((labels < 0) | (labels >= classes) | (labels == blank))
    logits = select(valid, logits, zeros_like(logits))
    logits = jnp.maximum(jax.nn.log_softmax(logits), _ZERO)
    labels = jnp.where(labelled, labels, 0)
    if len(labels) == 0:  # optax needs at least padding
        labels, labelled = jnp.zeros((1, batch), labels.dtype), jnp.zeros((1, batch), bool)
    paddings = [(~mask).T.astype(logits.dtype) for mask in (valid, labelled)]
    with standard_promotion():  # optax's one-hot labels are of the default float
        costs = optax.ctc_loss(
            logits.swapaxes(0, 1),
            paddings[0],
            labels.T,
            paddings[1],
            blank_id=blank,
            log_epsilon=_ZERO,
        )
    impossible = costs > -_ZERO / 2
    costs = jnp.where(impossible, 0.0 if zero_infinity else jnp.inf, jnp.maximum(costs, 0))
    return _mean(jnp.where(jnp.any(wrong, axis=0), jnp.nan, costs).astype(logits.dtype), None)


def _check_ctc(logits: Array, labels: Array) -> None:
    if logits.ndim != 3 or labels.ndim != 2 or logits.shape[1] != labels.shape[1]:
        raise ValueError(
            f"logits have shape {logits.shape} and labels {labels.shape}: expected [T, B, K] and "
            "[L, B], time first"
        )
    if logits.shape[0] == 0:
        raise ValueError("logits have no steps: expected T of at least 1 to align the labels with")


def _check_labels(labels: Array, form: str) -> Array:
    labels = check_array("labels", labels, form)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels have dtype {labels.dtype}: expected the integer ids of classes")
    return labels


def _at_least_float32(x: Array) -> Array:
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


def _mean(costs: Array, valid: Array | None) -> Array:
    if valid is None:
        return jnp.sum(costs) / max(costs.size, 1)
    costs = jnp.where(valid, costs, jax.lax.stop_gradient(jnp.zeros_like(costs)))
    return jnp.sum(costs) / jnp.maximum(jnp.sum(valid), 1).astype(costs.dtype)
