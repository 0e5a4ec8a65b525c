"""A method of your own, how a recurrence is executed: copy this file, change what says TODO.

All steps written one after the other, without a loop, stand in for yours: XLA may fuse across
steps, and inside `jax.disable_jit()` a `print` in a step prints. `python my_method.py` compares it
with `sequential()`.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax import extend

LONGEST = 64


class InARow:
    """A loop over time.  TODO: yours."""

    hoist = True  # whether a rule's projection runs once over the whole sequence, before the loop

    def scan(self, body, carry, xs, reverse):
        """As `jax.lax.scan`: body(carry, x_t) -> (carry, y_t), over the leading axis of xs."""
        steps = jax.tree.leaves(xs)[0].shape[0]
        ys = [None] * steps
        for t in range(steps)[:: -1 if reverse else 1]:
            carry, ys[t] = body(carry, jax.tree.map(lambda x: x[t], xs))  # noqa: B023
        return carry, jax.tree.map(lambda *each: jnp.stack(each), *ys)


@dataclass(frozen=True)
class WrittenOut:
    """The value made by `written_out()`: frozen, so that it has a hash and compiles once."""

    carries: bool = False  # set by return_carries=True; without this field that is refused
    name = "written_out"

    def refusal(self, cell, base, params, sequence):
        """TODO: why this cannot be run, as a sentence; None if it can. It must catch every case."""
        steps = jax.tree.leaves(sequence.xs)[0].shape[0]
        if not 1 <= steps <= LONGEST:
            return f"it compiles every step by itself, for 1 to {LONGEST} steps, and T is {steps}"
        return None

    def bind(self, cell, base, reverse):
        """The run `(params, sequence) -> (carry, ys)` of what `refusal` let through."""
        # `run_of` builds in lengths and resets, and serves every gradient.  TODO: where you run
        # the whole sequence by other means, return a function of your own: see my_kernel.py.
        return extend.run_of(cell, base, InARow(), reverse, self.carries)


def written_out() -> rnnjax.Method:
    """Write all steps one after the other."""
    return WrittenOut()


if __name__ == "__main__":
    cell = rnnjax.gru(8)
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (10, 4, 3))

    def cost(params, xs, method):
        lengths = jnp.array([10, 7, 1, 0])
        return (rnnjax.unroll(cell, params, xs, lengths=lengths, method=method)[1] ** 2).sum()

    found, expected = (
        jax.value_and_grad(cost, (0, 1))(params, xs, method)
        for method in (written_out(), rnnjax.sequential())
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), found, expected)
    print(f"{written_out()} agrees with {rnnjax.sequential()}")
