"""What an online algorithm is made of, and how it goes over the examples of a batch."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.online._rows import Theta, num_rows


class Start(NamedTuple):
    """Where an example begins."""

    cell: Cell
    params: Params
    carry: Carry
    x_t: PyTree  # of which the shape alone is read
    origin: Callable[[Theta], Array]  # s_0 = origin(θ)
    theta: Theta
    key: Any  # a PRNG key; None for an algorithm that draws no random numbers

    def num_rows(self) -> tuple[int, int]:
        """The entries of (s, y) and of s alone."""
        return num_rows(self.cell, self.params, self.carry, self.x_t)


class Engine(Protocol):
    """How the influence of params on the state is kept, for one example without batch axes.

    An `influence` is a NamedTuple; one with a field `key` draws random numbers.
    """

    def start(self, at: Start) -> Any:
        """The influence before the first step."""
        ...

    def advance(
        self, cell: Cell, params: Params, influence: Any, carry: Carry, x_t: PyTree
    ) -> tuple[Carry, PyTree, Any]:
        """One step: the new carry, y_t and the new influence."""
        ...

    def read(self, cell: Cell, influence: Any, ct: Array) -> Theta:
        """The gradient of a cost whose cotangent at the rows (s_t, y_t) is `ct` [R]."""
        ...


def over_batch(batch_shape: tuple[int, ...], function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one example, over all leading axes of its arguments."""
    for _ in batch_shape:
        function = jax.vmap(function)
    return function


def summed(batch_shape: tuple[int, ...], tree: PyTree) -> PyTree:
    """The sum over the examples."""
    axes = tuple(range(len(batch_shape)))
    return jax.tree.map(lambda leaf: leaf.sum(axes), tree)
