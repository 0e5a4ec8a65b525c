"""One input, one output: the degenerate case, without recurrence."""

from collections.abc import Callable
from typing import NamedTuple

from rnnjax._types import Array, Params
from rnnjax.scenarios._modules import Module, apply_module, check_module


class OneToOne(NamedTuple):
    init: Callable[[Array, Array], Params]  # (key, x) -> params
    apply: Callable[..., Array]  # (params, x, *, key=None) -> output


def one_to_one(head: Module) -> OneToOne:
    """A feedforward map, in the form of the other scenarios: what recurrence is added to.

        output = head(x)

    Args:
      head: any module, such as `flax.linen.Dense(10)` or a CNN.

    Returns:
      A `OneToOne` of `init(key, x) -> params` and `apply(params, x, *, key=None) -> output`.

    Raises:
      TypeError: a head without init and apply.

    Example:
      >>> import flax.linen as nn, jax
      >>> from rnnjax import scenarios
      >>> model = scenarios.one_to_one(nn.Dense(3))
      >>> params = model.init(jax.random.key(0), jax.numpy.ones((2, 5)))
      >>> model.apply(params, jax.numpy.ones((2, 5))).shape
      (2, 3)
    """
    check_module("head", head)

    def apply(params: Params, x: Array, *, key: Array | None = None) -> Array:
        return apply_module(head, params, x, key)

    return OneToOne(head.init, apply)
