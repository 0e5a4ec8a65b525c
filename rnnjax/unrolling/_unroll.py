"""`unroll`: a cell over a sequence."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._checks import check_carry, check_lengths, check_resets, check_sequence
from rnnjax._types import Array, Carry, Cell, Gradient, Method, Params, PyTree
from rnnjax.gradients import autodiff, bptt
from rnnjax.methods import sequential
from rnnjax.unrolling._lengths import Flagged, RestartCarry, freezing, restarting, select


def unroll(
    cell: Cell,
    params: Params,
    xs: PyTree,
    *,
    carry: Carry | None = None,
    key: Array | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    gradient: Gradient | None = None,
    method: Method | None = None,
) -> tuple[Carry, PyTree]:
    """Run a cell over a sequence, as `jax.lax.scan` does, with variable lengths and episodes.

        carry_t, y_t = cell.step(params, carry_{t-1}, x_t)        t = 1 … T

    It is compiled on first use for each cell and shape, and composes with `jit`, `grad` and
    `vmap`. T = 0 returns the initial carry and empty outputs; empty batches are allowed. NaN and
    Inf in valid inputs propagate as in any JAX code; in padding they are never seen.

    Args:
      cell: the `Cell`.
      params: its weights. Their dtype is the dtype of the computation: xs is cast to it.
      xs: inputs `[T, ..., D]`, floating point, time first.
      carry: the state before the first step; `cell.initial_carry(params, batch_shape)` if None.
      key: PRNG key for cells with training-time randomness (dropout, zoneout), which run in
        their evaluation form without one. Not together with `carry`, which then holds it.
      lengths: `[...]` integers in 0..T, for right-padded sequences. From its length on, a
        sequence's carry freezes, its outputs are zero and its inputs get zero gradient,
        whatever the padding contains.
      resets: `[T, ...]` booleans, true at an episode's first step: no information crosses
        from one episode into the next, in either direction. The carry restarts from the
        initial carry (from `carry` at t = 0 unless that step is a reset).
      reverse: run from t = T down to 1. Outputs keep their place in time, and padding is
        still on the right.
      gradient: how to differentiate: `autodiff()`, `bptt()`. None means `bptt()` for a cell
        with a hand-derived rule and `autodiff()` for others.
      method: how to execute: `sequential()`, the default.

    Returns:
      `(carry, ys)`: the carry after the last step (each sequence's own last), and the outputs
      `[T, ..., H]`.

    Raises:
      TypeError: integer inputs; lengths that are not integers; resets that are not booleans.
      ValueError: shapes that do not fit, lengths outside 0..T, a carry unlike the cell's, or a
        gradient and a method that do not go together.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jnp.ones((10, 2, 3))                      # T = 10, B = 2, D = 3
      >>> carry, ys = rnnjax.unroll(cell, params, xs, lengths=jnp.array([10, 6]))
      >>> carry.h.shape, ys.shape, float(jnp.abs(ys[6:, 1]).sum())
      ((2, 4), (10, 2, 4), 0.0)
    """
    length, batch_shape = check_sequence(xs)
    gradient = gradient or (autodiff() if cell.rule is None else bptt())
    method = method or sequential()
    if gradient.name not in method.gradients:
        raise ValueError(
            f"method={method.name}() cannot be differentiated by gradient={gradient.name}(): it "
            f"supports {', '.join(name + '()' for name in method.gradients)}"
        )
    initial = cell.initial_carry
    fresh = initial(params, batch_shape) if key is None else initial(params, batch_shape, key)
    if carry is None:
        carry = fresh
    elif key is not None:
        raise ValueError(
            "pass carry= or key=, not both: a key draws the randomness of a new carry, which is "
            "cell.initial_carry(params, batch_shape, key)"
        )
    else:
        check_carry("carry", carry, jax.eval_shape(lambda: fresh))
    if lengths is not None:
        lengths = check_lengths(lengths, length, batch_shape)
    if resets is not None:
        resets = check_resets(resets, length, batch_shape)
    return _run(cell, gradient, method, reverse, params, carry, fresh, xs, lengths, resets)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run(
    cell: Cell,
    gradient: Gradient,
    method: Method,
    reverse: bool,
    params: Params,
    carry: Carry,
    fresh: Carry,
    xs: PyTree,
    lengths: Array | None,
    resets: Array | None,
) -> tuple[Carry, PyTree]:
    dtype = jnp.result_type(*(leaf for leaf in jax.tree.leaves(params)))
    xs = jax.tree.map(lambda x: jnp.asarray(x, dtype), xs)
    steps = jax.tree.leaves(xs)[0].shape[0]
    valid = None
    if lengths is not None:
        valid = jnp.arange(steps).reshape((steps,) + (1,) * lengths.ndim) < lengths
        xs = select(valid, xs, jax.tree.map(jnp.zeros_like, xs))
    inputs: Any = xs
    if resets is not None:
        # Backwards in time, the carry restarts after an episode's first step, not before it.
        begins = jnp.roll(resets, -1, axis=0).at[-1:].set(False) if reverse else resets
        inputs, carry = Flagged(inputs, begins), RestartCarry(carry, fresh)
        cell = restarting(cell)
    if valid is not None:
        inputs = Flagged(inputs, valid)
        cell = freezing(cell)
    carry, ys = gradient.run(cell, method, params, carry, inputs, reverse)
    return (carry.current if resets is not None else carry), ys
