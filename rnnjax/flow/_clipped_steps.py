"""`clipped_steps`: at which steps back in time a clip inside the loop fires."""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._arrays import Static, put_arrays, take_arrays
from rnnjax._checks import check_callable, check_cost
from rnnjax._execution import Sequence
from rnnjax._guard import keeps_type
from rnnjax._params import check_params
from rnnjax._types import Array, Carry, Cell, Clip, Params, PyTree
from rnnjax.flow._cell import validate_masked
from rnnjax.flow._float64 import in_float64
from rnnjax.gradients import bptt
from rnnjax.running import final_carry, prepare


@in_float64
def clipped_steps(
    cell: Cell,
    params: Params,
    xs: PyTree,
    cost: Callable[[Carry, PyTree], Array],
    clip: Clip,
    *,
    carry: Carry | None = None,
    key: Array | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """At which steps of each example `bptt(clip)` clips the error δ_t on its way back.

    Once it has fired, all earlier errors are smaller than they would be: how often it fires further
    back tells whether they grow again.

    Args:
      cell: a `Cell` with a hand-derived rule; of a stack, a step counts if any layer clips.
      params: its weights.
      xs: inputs `[T, ..., D]`.
      cost: `cost(carry, ys) -> C`, as for `record`.
      clip: as for `bptt`: `clip_by_value(limit)`, `clip_by_norm(limit)` or a function of δ_t.
      carry, key, lengths, resets, mask: as for `rnnjax.unroll`. Nothing is clipped in padding and
        at skipped steps.

    Returns:
      Bool `[T, ...]`, true where δ_t was changed; the mean over examples is the rate by step.

    Raises:
      TypeError: a clip that is not a function, and as `rnnjax.unroll`.
      ValueError: a cell without a rule, and as `rnnjax.unroll`.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> from rnnjax.gradients import clip_by_norm
      >>> cell = rnnjax.vanilla(1, "identity")
      >>> params = rnnjax.cells.VanillaParams(jnp.ones((1, 1)), jnp.full((1, 1), 2.0), jnp.zeros(1))
      >>> rnnjax.flow.clipped_steps(  # δ doubles with every step back: 1, 2, 3, 3
      ...     cell, params, jnp.zeros((4, 1)), lambda carry, ys: ys[-1].sum(), clip_by_norm(3.0)
      ... ).tolist()
      [True, True, False, False]

    References:
      Graves (2013), Generating sequences with recurrent neural networks, arXiv 1308.0850.
    """
    given = carry, key, lengths, resets
    sequence, _, batch_shape, in_time = validate_masked(cell, params, xs, mask, *given)
    check_callable("cost", cost, "(carry, ys) -> scalar")
    cost = cost if in_time is None else in_time.cost(cost)
    check_callable("clip", clip, "(delta) -> delta")
    if cell.rule is None:
        raise ValueError(bptt().refusal(cell))
    params = check_params(cell, params)
    end, ys, tapes = _forth(cell, params, sequence)
    value, back = jax.vjp(lambda end, ys: check_cost(cost(final_carry(end), ys)), end, ys)
    static, limits = take_arrays(clip)
    end_ct, ys_ct = back(jnp.ones_like(value))
    end_ct = jax.tree.map(_or_none, end_ct)
    ends = end_ct, ys_ct, tapes
    found = _back(cell, static, len(batch_shape), params, sequence, ends, limits)
    return found if in_time is None else in_time.of_steps(found)


def _or_none(ct: Array) -> Array | None:
    """A derivative, or None by what has none, as rules return it: masks and PRNG keys."""
    return None if ct.dtype == jax.dtypes.float0 else ct


@partial(jax.jit, static_argnums=0)
def _forth(cell: Cell, params: Params, sequence: Sequence) -> tuple[Carry, PyTree, PyTree]:
    """The last carry of the prepared scan, the outputs and the tapes."""
    ready, start, inputs = prepare(cell, params, sequence)
    rule: Any = ready.rule

    def forward(carry: Carry, z_t: PyTree) -> tuple[Carry, Any]:
        (carry, y_t), tape_t = rule.forward(params, carry, z_t)
        return carry, (y_t, tape_t)

    end, (ys, tapes) = jax.lax.scan(forward, start, rule.project(params, inputs))
    return end, ys, tapes


@partial(jax.jit, static_argnums=(0, 1, 2))
def _back(
    cell: Cell,
    static: Static,
    batch_ndim: int,
    params: Params,
    sequence: Sequence,
    ends: Any,
    limits: Any,
) -> Array:
    rule: Any = prepare(cell, params, sequence)[0].rule
    clip, (end_ct, ys_ct, tapes) = keeps_type(put_arrays(static, limits)), ends

    def backward(carry_ct: Carry, tape_and_ct: Any) -> tuple[Carry, Array]:
        tape_t, y_ct = tape_and_ct
        fired: list[Array] = []

        def watched(delta: Array) -> Array:
            clipped = clip(delta)
            features = tuple(range(batch_ndim, delta.ndim))
            fired.append(jnp.any(clipped != delta, axis=features))
            return clipped

        carry_ct, _ = rule.backward(params, tape_t, carry_ct, y_ct, watched)
        return carry_ct, reduce(jnp.logical_or, fired)

    return jax.lax.scan(backward, end_ct, (tapes, ys_ct), reverse=True)[1]
