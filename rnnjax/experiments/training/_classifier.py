"""Many-to-one classification: a cell, and a dense head on its last output."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rnnjax._types import Array, Cell, Gradient, Init, Params
from rnnjax.unrolling import unroll


class ClassifierParams(NamedTuple):
    cell: Params
    head: Params  # of flax.linen.Dense


class Classifier(NamedTuple):
    init: Init  # (key, input_size) -> ClassifierParams
    head: Callable[[ClassifierParams, Array], Array]  # (params, y_T [..., H]) -> logits
    logits: Callable[[ClassifierParams, Array], Array]  # (params, xs [T, B, D]) -> [B, classes]


def classifier(cell: Cell, classes: int, gradient: Gradient | None = None) -> Classifier:
    """A net that reads a whole sequence and names its class.

        logits = y_T W + b

    Args:
      cell: any `Cell`.
      classes: the number of classes.
      gradient: how to differentiate the recurrence, as for `unroll`.

    Returns:
      A `Classifier` of pure functions.
    """
    dense = nn.Dense(classes, param_dtype=jnp.result_type(float))

    def init(key: Array, input_size: int) -> ClassifierParams:
        key_cell, key_head = jax.random.split(key)
        params = cell.init(key_cell, input_size)
        xs = jax.ShapeDtypeStruct((1, input_size), jnp.result_type(float))
        ys = jax.eval_shape(lambda xs: unroll(cell, params, xs)[1], xs)
        return ClassifierParams(params, dense.init(key_head, jnp.zeros(ys.shape[1:], ys.dtype)))

    def head(params: ClassifierParams, y_last: Array) -> Array:
        # One example at a time, so that the bias meets an output of its own rank.
        apply = jnp.vectorize(
            lambda y: jnp.asarray(dense.apply(params.head, y)), signature="(h)->(k)"
        )
        return apply(y_last)

    def logits(params: ClassifierParams, xs: Array) -> Array:
        _, ys = unroll(cell, params.cell, xs, gradient=gradient)
        return head(params, ys[-1])

    return Classifier(init, head, logits)


def cross_entropy(logits: Array, labels: Array) -> Array:
    """-ln of the probability of each label [...], from logits [..., classes]; in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
