"""The loop over time: `lax.scan`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from rnnjax._types import Carry, PyTree


@dataclass(frozen=True)
class Scan:
    """A `Loop` by `lax.scan`."""

    unroll: int = 1
    hoist: bool = False

    def scan(
        self, body: Callable[..., Any], carry: Carry, xs: PyTree, reverse: bool
    ) -> tuple[Carry, PyTree]:
        return jax.lax.scan(body, carry, xs, reverse=reverse, unroll=self.unroll)
