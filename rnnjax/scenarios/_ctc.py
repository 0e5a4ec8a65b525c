"""Connectionist temporal classification: optax's, with lengths instead of paddings."""

from functools import partial

import jax
import jax.numpy as jnp

from rnnjax._checks import check_array, check_flag, check_index, check_lengths, check_real
from rnnjax._dtypes import standard_promotion
from rnnjax._types import Array
from rnnjax.running import select, within, zeros_like
from rnnjax.scenarios._losses import (
    check_labels,
    check_reduction,
    check_values,
    in_float32_at_least,
    reduced,
)


def ctc(
    logits: Array,
    lengths: Array,
    labels: Array,
    label_lengths: Array,
    *,
    blank: int = 0,
    zero_infinity: bool = False,
    reduction: str = "mean",
) -> Array:
    """Connectionist temporal classification (CTC): a loss for labels without an alignment.

        c_b = -ln Σ_π Π_t softmax(logits_t)[π_t];   C = 1/B Σ_b c_b

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
      reduction: "mean" or "sum" over sequences, or "none".

    Returns:
      A scalar, or with "none" the cost of each sequence, `[B]`.

    Raises:
      TypeError: complex logits; labels, lengths or a blank that are not integers.
      ValueError: shapes that do not fit, lengths outside 0..T and 0..L, labels that are none, or
        an unknown reduction.

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
    labels = check_labels(labels, "[L, B]")
    _check_ctc(logits, labels)
    blank = check_index("blank", blank, logits.shape[-1], "classes")
    check_flag("zero_infinity", zero_infinity)
    lengths = check_lengths(lengths, len(logits), labels.shape[1:])
    label_lengths = check_lengths(label_lengths, len(labels), labels.shape[1:])
    check_values(labels, within(label_lengths, len(labels)), logits.shape[-1], blank)
    check_reduction(reduction)
    return _ctc(logits, lengths, labels, label_lengths, blank, zero_infinity, reduction)


_ZERO = -1e30  # for the logarithm of zero, finite, since 0 · -inf is NaN


@partial(jax.jit, static_argnums=(4, 5, 6))
def _ctc(
    logits: Array,
    lengths: Array,
    labels: Array,
    label_lengths: Array,
    blank: int,
    zero_infinity: bool,
    reduction: str,
) -> Array:
    import optax

    logits = in_float32_at_least(logits)
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
    costs = jnp.where(jnp.any(wrong, axis=0), jnp.nan, costs).astype(logits.dtype)
    return reduced(costs, None, reduction)


def _check_ctc(logits: Array, labels: Array) -> None:
    if logits.ndim != 3 or labels.ndim != 2 or logits.shape[1] != labels.shape[1]:
        raise ValueError(
            f"logits have shape {logits.shape} and labels {labels.shape}: expected [T, B, K] and "
            "[L, B], time first"
        )
    if logits.shape[0] == 0:
        raise ValueError("logits have no steps: expected T of at least 1 to align the labels with")
