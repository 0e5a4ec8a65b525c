"""`unroll`: a cell over a sequence."""

from functools import partial

import jax

from rnnjax._arrays import Static, put_arrays, take_arrays
from rnnjax._checks import check_flag, check_mask
from rnnjax._execution import Gradient, Method, Sequence, check_gradient, check_method
from rnnjax._params import check_params
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.combinators import without_learned_carries
from rnnjax.methods import Auto, Plan, auto, bind, resolve, with_carries
from rnnjax.running import (
    check_automatic,
    close_up,
    lay_out_carries,
    lay_out_outputs,
    validate_shaped,
    vary_along,
    varying_axes,
)
from rnnjax.unrolling._read_arrays import arrays_read, as_params, base_of


def unroll(
    cell: Cell,
    params: Params,
    xs: PyTree,
    *,
    carry: Carry | None = None,
    key: Array | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    initial_carry: Carry | None = None,
    mask: Array | None = None,
    reverse: bool = False,
    gradient: Gradient | None = None,
    method: Method | Auto | None = None,
    return_carries: bool = False,
) -> tuple[Carry, PyTree]:
    """Run a cell over a sequence, as `jax.lax.scan` does, with variable lengths and episodes.

        carry_t, y_t = cell.step(params, carry_{t-1}, x_t)        t = 1 … T

    It is compiled on first use for each cell and shape, and composes with `jit`, `grad`, `vmap` and
    `shard_map`. T = 0 returns the initial carry and empty outputs; empty batches are allowed. NaN
    and Inf in valid inputs propagate as in any JAX code; in padding they are never seen.

    Args:
      cell: the `Cell`.
      params: its weights. Their dtype is the dtype of the computation: xs is cast to it, but for
        integers and booleans.
      xs: inputs `[T, ..., D]`, time first: an array, or a pytree of arrays for a cell that reads
        one. `Structure.feature_axes` of the cell says how many axes at the end are features.
      carry: the state before the first step; if None, `initial_carry` where that is given, else
        `cell.initial_carry(params, batch_shape)`. One without batch axes is where every example
        begins. `learned_carry(cell)` learns it.
      key: PRNG key for cells with training-time randomness (dropout, zoneout), which run in
        their evaluation form without one. A `carry` from such a run holds it already; with
        `resets`, pass a key beside it, for the episodes that begin there.
      lengths: `[...]` integers in 0..T, for right-padded sequences. From its length on, a
        sequence's carry freezes, its outputs are zero and its inputs get zero gradient,
        whatever the padding contains.
      resets: `[T, ...]` booleans, true at an episode's first step: no information crosses
        from one episode into the next, in either direction. The carry restarts from the
        initial carry (from `carry` at t = 0 unless that step is a reset). A cell with dropout
        or zoneout restarts from the same keys, so a sequence's episodes share their masks.
      initial_carry: what episodes restart from at these resets, and the first one begins from where
        `carry` is None; `cell.initial_carry(params, batch_shape, key)` if None. One without batch
        axes is where every example begins.
      mask: `[T, ...]` booleans, false at steps to skip, anywhere in a sequence. A skipped step
        leaves the carry as it is, repeats the output of the step before it (zero where there is
        none in its episode), and its input is never seen. A reset there takes effect at the next
        step that is not skipped, and is not in the last carry where none follows. The other steps
        are run as a shorter sequence, by any gradient and method, at the price of one copy of xs
        and of ys.
      reverse: run from t = T down to 1. Outputs keep their place in time, and padding is
        still on the right.
      gradient: how to differentiate: `autodiff()`, `bptt()`, or one that wraps these,
        `truncated(k)`, `checkpointed(k)`; or one of `rnnjax.online`, such as `rtrl()`. None means
        the method's own default: the hand-derived rule of a cell that has one, autodiff for others.
      method: how to execute: `sequential()`, `native()`, `cudnn()`, `associative()`, `deer()`, or
        `auto()`, the default, which takes the fastest that can run this; `methods.explain` says
        which. The layers of a `stack` are run one after the other, each by its own.
      return_carries: return the carry after every step, leaves `[T, ..., *features]`, in place of
        the last one. From a sequence's length on they are its last. `auto()` then takes
        `sequential()`; `associative()` and `deer()` keep them too.

    Returns:
      `(carry, ys)`: the carry after the last step (each sequence's own last), and the outputs
      `[T, ..., H]`.

    Raises:
      TypeError: integer inputs; lengths that are not integers; resets or a mask that are not
        booleans.
      ValueError: shapes that do not fit, lengths outside 0..T, a carry unlike the cell's, a
        gradient and a method that do not go together, or arrays that an explicit mesh divides.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jnp.ones((10, 2, 3))                      # T = 10, B = 2, D = 3
      >>> carry, ys = rnnjax.unroll(cell, params, xs, lengths=jnp.array([10, 6]))
      >>> carry.h.shape, ys.shape, float(jnp.abs(ys[6:, 1]).sum())
      ((2, 4), (10, 2, 4), 0.0)
    """
    params = check_params(cell, params)
    sequence, length, batch_shape = validate_shaped(
        cell, params, xs, carry, key, lengths, resets, initial_carry
    )
    if mask is not None:
        mask = check_mask(mask, length, batch_shape) if length else None
    cell, params = without_learned_carries(cell, params)
    base = None if gradient is None else check_gradient("gradient", gradient).base
    read = arrays_read(cell, params, sequence, gradient) if length else ()
    if read:
        cell, params = as_params(cell, params, read, sequence, gradient)
        base = base_of(gradient, params)
    method = auto() if method is None else method
    if check_flag("return_carries", return_carries):
        method = with_carries(check_method("method", method))
    plan = resolve(method, cell, base, params, sequence)
    reverse = check_flag("reverse", reverse)
    static, limits = take_arrays(gradient)
    last, ys = _run(cell, static, plan, reverse, return_carries, params, sequence, mask, limits)
    return ys if return_carries else (last, ys)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _run(
    cell: Cell,
    static: Static,
    plan: Plan,
    reverse: bool,
    return_carries: bool,
    params: Params,
    sequence: Sequence,
    mask: Array | None,
    limits: tuple[Array | None, ...],
) -> tuple[Carry, PyTree]:
    gradient: Gradient | None = put_arrays(static, limits)
    check_automatic((params, sequence, mask))
    given = params, sequence, mask
    params, sequence, mask = vary_along(varying_axes(given), given)
    if gradient is None:
        run = bind(plan, cell, None, reverse)
    else:
        run = gradient.wrap(bind(plan, cell, base_of(gradient, params), reverse), reverse)
    if mask is None:
        return run(params, sequence)
    closed, skipped = close_up(sequence, mask, reverse)
    last, ys = run(params, closed)
    if not return_carries:
        return last, lay_out_outputs(skipped, ys)
    carries, ys = ys
    carries = lay_out_carries(skipped, carries, sequence.carry)
    return last, (carries, lay_out_outputs(skipped, ys))
