"""Per-step weight gradients: those of every copy of the weights in the unfolded net."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_callable, check_cost
from rnnjax._execution import Sequence
from rnnjax._params import check_params
from rnnjax._types import Array, Carry, Cell, Params, PyTree, initial_carry
from rnnjax.running import (
    RestartCarry,
    final_carry,
    prepare,
    validate_shaped,
    vary_along,
    varying_axes,
)


class Unfolded(NamedTuple):
    """∂C/∂W_t for the copy W_t of the weights that step t uses."""

    copies: Params  # each leaf [T, ...]: ∂C/∂W_t

    def sum(self) -> Params:
        """Σ_t ∂C/∂W_t, which is what `jax.grad` returns: the copies are one and the same W."""
        return jax.tree.map(partial(jnp.sum, axis=0), self.copies)

    def mean(self) -> Params:
        """Σ_t ∂C/∂W_t / T, whose size does not grow with the sequence."""
        return jax.tree.map(partial(jnp.mean, axis=0), self.copies)


def unfolded(
    cell: Cell,
    params: Params,
    xs: PyTree,
    cost: Callable[[Carry, PyTree], Array],
    *,
    carry: Carry | None = None,
    key: Array | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
) -> Unfolded:
    """Differentiate with respect to each step's own copy of the weights.

        C(W_1, …, W_T) = cost of  carry_t, y_t = step(W_t, carry_{t-1}, x_t)   at W_1 = … = W_T = W

    Where the copies' gradients come from in time is what BPTT's one sum hides. They need T times
    the memory of the weights. A first carry that is made of weights is made of W_1, and that of an
    episode of the copy of its first step.

    Args:
      cell: any `Cell`.
      params: its weights W.
      xs: inputs `[T, ..., D]`.
      cost: `(carry, ys) -> scalar`, of the last carry and the outputs.
      carry, key, lengths, resets: as for `rnnjax.unroll`.

    Returns:
      `Unfolded(copies)`, with the structure of params and a leading T in every leaf.

    Raises:
      TypeError, ValueError: as `rnnjax.unroll`; a cost that is not a scalar.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.lstm(3)
      >>> params, xs = cell.init(jax.random.key(0), 2), jax.numpy.ones((5, 2))
      >>> each = rnnjax.gradients.unfolded(cell, params, xs, lambda carry, ys: ys[-1].sum())
      >>> each.copies.w_h.shape, each.sum().w_h.shape
      ((5, 3, 12), (3, 12))
    """
    sequence, steps, batch_shape = validate_shaped(cell, params, xs, carry, key, lengths, resets)
    check_callable("cost", cost, "(carry, ys) -> scalar")
    params, given = check_params(cell, params), carry is not None

    def total(copies: Params) -> Array:
        # Outside of what is compiled, so that what the cost reads is read at every call.
        return check_cost(cost(*_run(cell, batch_shape, given, params, sequence, key, copies)))

    copies = jax.tree.map(lambda w: jnp.broadcast_to(w, (steps, *jnp.shape(w))), params)
    return Unfolded(jax.grad(total)(copies))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _run(
    cell: Cell,
    batch_shape: tuple[int, ...],
    given: bool,
    params: Params,
    sequence: Sequence,
    key: Array | None,
    copies: Params,
) -> tuple[Carry, PyTree]:
    """The last carry and the outputs of the net whose step t has the t-th copy of the weights."""
    axes = varying_axes((params, sequence))
    params, sequence, copies = vary_along(axes, (params, sequence, copies))
    ready, first, inputs = prepare(cell, params, sequence)

    def start(copy: Params) -> Carry:
        return vary_along(axes, initial_carry(cell, copy, batch_shape, key))

    def body(carry: Carry, copy_and_input: Any) -> tuple[Carry, PyTree]:
        copy, x_t = copy_and_input
        if isinstance(carry, RestartCarry):
            carry = carry._replace(initial=start(copy))
        return ready.step(copy, carry, x_t)

    if not given:
        steps = jax.tree.leaves(inputs)[0].shape[0]
        own = start(jax.tree.map(lambda w: w[0], copies) if steps else params)
        first = first._replace(current=own) if isinstance(first, RestartCarry) else own
    last, ys = jax.lax.scan(body, first, (copies, inputs))
    return final_carry(last), ys
