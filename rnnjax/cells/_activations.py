"""Activation functions φ, each with its derivative for hand-derived rules."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array

ActivationName = Literal["tanh", "relu", "sigmoid", "identity"]
"""The names of the activations that a cell with a hand-derived rule may have."""


class Activation(NamedTuple):
    apply: Callable[[Array], Array]  # z -> h = φ(z)
    derivative: Callable[[Array], Array]  # h -> φ'(z), from the output alone
    gamma: float  # the largest |φ'|


ACTIVATIONS: dict[str, Activation] = {
    "tanh": Activation(jnp.tanh, lambda h: 1 - h * h, 1.0),
    "relu": Activation(jax.nn.relu, lambda h: (h > 0).astype(h.dtype), 1.0),
    "sigmoid": Activation(jax.nn.sigmoid, lambda h: h * (1 - h), 0.25),
    "identity": Activation(lambda z: z, jnp.ones_like, 1.0),
}
"""The activations by name, each with its derivative and the largest value of that."""
