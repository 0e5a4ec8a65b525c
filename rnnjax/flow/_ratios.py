"""`pascanu_ratios`: what each step back does to the norm of the error."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._execution import Sequence
from rnnjax._fields import output_leaf
from rnnjax._params import check_params
from rnnjax._types import Array, Carry, Cell, Params, PyTree, known
from rnnjax.flow._cell import follow, validate_masked
from rnnjax.flow._float64 import in_float64
from rnnjax.flow._norms import features_norm
from rnnjax.flow._record import trace
from rnnjax.running import beside_features, chosen_leaves, leaf_indices, select, zeros_like

Leaves = list[Array]  # the differentiable leaves of a carry, or their cotangents


@in_float64
def pascanu_ratios(
    cell: Cell,
    params: Params,
    xs: PyTree,
    cost: Callable[[Carry, PyTree], Array],
    *,
    carry: Carry | None = None,
    key: Array | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """By how much each step back shrinks or stretches the error: the terms of Ω, one by one.

        ratio_t = ‖∂C/∂s_t ∂s_t/∂s_{t-1}‖ / ‖∂C/∂s_t‖        Ω = Σ_t (ratio_t - 1)²

    s is the carry as one vector, and ∂C/∂s_t comes by every path, outputs included. 1 keeps the
    norm, in the direction that the error has; what stays below it vanishes, what stays above it
    explodes. `pascanu_regularizer` is the sum; here one sees which steps it comes from.

    Args:
      cell, params, xs, cost, carry, key, lengths, resets, mask: as for `pascanu_regularizer`.

    Returns:
      Ratios `[T, ...]`: `[t - 1]` is that of the step from s_t back to s_{t-1}.
      NaN where Ω has no term: the error is zero, the step is padding, is skipped or begins an
      episode. NaN, as Ω then is, where the error is not finite.
      Differentiable, for penalties of your own.

    Raises:
      TypeError: as `record`.
      ValueError: a carry of several leaves none of which is known to be y_t; and as `record`.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.vanilla(2, "identity")
      >>> params = cell.init(jax.random.key(0), 1)._replace(w_h=0.5 * jax.numpy.eye(2))
      >>> xs = jax.numpy.ones((3, 1))
      >>> last = lambda carry, ys: ys[-1].sum()
      >>> rnnjax.flow.pascanu_ratios(cell, params, xs, last).tolist()
      [0.5, 0.5, 0.5]

    References:
      Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural
      networks, ICML, section 3.3, equation 9.
    """
    given = mask, carry, key, lengths, resets
    ratios, counts = step_ratios(cell, params, xs, cost, "full", *given)
    return jnp.where(counts, ratios, jnp.nan)


def step_ratios(
    cell: Cell,
    params: Params,
    xs: PyTree,
    cost: Callable[[Carry, PyTree], Array],
    derivative: str,
    mask: Array | None,
    *options: Any,
) -> tuple[Array, Array]:
    """The ratios `[T, ...]`, and whether Ω has a term there; their derivative as for Ω.

    `options` are carry, key, lengths and resets.
    """
    params = check_params(cell, params)
    sequence, steps, batch_shape, in_time = validate_masked(cell, params, xs, mask, *options)
    cost = cost if in_time is None else in_time.cost(cost)
    output = _output(cell, sequence.carry)
    moving = params
    if derivative == "immediate":
        if cell.rule is None:
            raise ValueError(
                f"the immediate derivative holds what the cell's rule saves, and {cell} has no "
                "rule: use derivative='full', or give the cell a rule"
            )
        params, sequence = jax.lax.stop_gradient((params, sequence))
    shape = (steps, *batch_shape)
    recording, end_ct, ys_ct = trace(cell, params, sequence, shape, cost, False)
    if derivative == "immediate":
        recording, end_ct, ys_ct = jax.lax.stop_gradient((recording, end_ct, ys_ct))
    indices = leaf_indices(sequence.carry, None)
    visited = _visited(cell, params, sequence)
    if output is None:
        errors = [leaf for leaf in jax.tree.leaves(recording.carry_ct) if leaf is not None]
    else:
        end = chosen_leaves(end_ct, indices)
        errors = _errors(cell, indices.index(output), params, visited, end, ys_ct)
    found = _ratios(cell, derivative, len(batch_shape), moving, visited, errors, ys_ct)
    return found if in_time is None else in_time.of_steps(found)


def _output(cell: Cell, carry: Carry) -> int | None:
    """The place of y_t among the carry's leaves; None where it has one leaf, with any readout."""
    name = known(cell).output
    if name is not None:
        return output_leaf(carry, name)
    count = len(leaf_indices(carry, None))
    if count > 1:
        raise ValueError(
            f"the carry of {cell} has {count} differentiable leaves, and the cell does not say "
            "which of them y_t is, so that ∂C/∂s_t is not defined: of a stack or a wrapped cell "
            "pass the cell inside; a cell of yours says so with Structure(output='h')"
        )
    return None


@partial(jax.jit, static_argnums=0)
def _visited(cell: Cell, params: Params, sequence: Sequence) -> tuple[Any, ...]:
    """carry_{t-1}, x_t, and whether step t is valid and begins an episode: `[T, ...]` each."""

    def forth(carry: Carry, x_t: PyTree, valid: Any, begins: Any, _: None):
        new, _y = cell.step(params, carry, x_t)
        return new, None, (carry, x_t, jnp.asarray(valid), jnp.asarray(begins))

    return follow(params, sequence, None, forth)[1]


@partial(jax.jit, static_argnums=(0, 1))
def _errors(
    cell: Cell, output: int, params: Params, visited: Any, end_ct: Leaves, ys_ct: Array
) -> Leaves:
    """∂C/∂s_t, with s_t one vector whose entries change independently: `[T, ...]`."""

    def body(held: Leaves, visit: Any) -> tuple[Leaves, Leaves]:
        (before, x_t, valid, begins), y_ct = visit
        error = [*held]
        error[output] = error[output] + y_ct
        pulled = select(begins, zeros_like(error), _pull(cell, params, before, x_t, error))
        return select(valid, pulled, held), select(valid, error, zeros_like(error))

    return jax.lax.scan(body, end_ct, (visited, ys_ct), reverse=True)[1]


def _pull(cell: Cell, params: Params, carry: Carry, x_t: PyTree, error: Leaves) -> Leaves:
    """The error at carry_t, times ∂s_t/∂s_{t-1}."""
    leaves, tree = jax.tree.flatten(carry)
    indices = leaf_indices(carry, None)

    def step(moving: Leaves) -> Leaves:
        moved = [*leaves]
        for i, leaf in zip(indices, moving, strict=True):
            moved[i] = leaf
        new, _ = cell.step(params, jax.tree.unflatten(tree, moved), x_t)
        return chosen_leaves(new, indices)

    return jax.vjp(step, [leaves[i] for i in indices])[1](error)[0]


def _pull_by_rule(
    cell: Cell, params: Params, held: Params, visit: Any, error: Leaves, y_ct: Array
) -> Leaves:
    """The same by the rule, whose tape is a constant; `params` are the weights that move."""
    before, x_t, _, _ = visit
    rule: Any = cell.rule
    indices = leaf_indices(before, None)
    _, tape = rule.forward(held, before, rule.project(held, x_t))
    leaves, tree = jax.tree.flatten(before)
    found = dict(zip(indices, error, strict=True))
    carry_ct = jax.tree.unflatten(tree, [found.get(i) for i in range(len(leaves))])
    none = jax.tree.map(jnp.zeros_like, y_ct)
    carry_ct, _ = rule.backward(params, jax.lax.stop_gradient(tape), carry_ct, none, lambda d: d)
    return jax.tree.leaves(carry_ct)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _ratios(
    cell: Cell,
    derivative: str,
    batch_ndim: int,
    params: Params,
    visited: Any,
    errors: Leaves,
    ys_ct: Array,
) -> tuple[Array, Array]:
    sizes = _norm(errors, 1 + batch_ndim)
    some = ~(sizes == 0)  # NaN counts: it must not look like an error that is kept
    unit = jnp.where(some, sizes, 1)
    errors = [_over(leaf, unit) for leaf in errors]
    held = jax.lax.stop_gradient(params)

    def back(visit: Any, error: Leaves, y_ct: Array) -> Leaves:
        if derivative == "immediate":
            return _pull_by_rule(cell, params, held, visit, error, y_ct)
        before, x_t, _, _ = visit
        return _pull(cell, params, before, x_t, error)

    ratios = _norm(jax.vmap(back)(visited, errors, ys_ct), 1 + batch_ndim)
    _, _, valid, begins = visited
    for flag in (valid, ~begins):
        some = some & beside_features(flag, some)
    return ratios, some


def _norm(leaves: Leaves, leading: int) -> Array:
    """`features_norm`, whose derivative at zero is zero."""
    some = jnp.any(jnp.stack([_any(leaf, leading) for leaf in leaves]), axis=0)
    moved = select(some, leaves, jax.tree.map(jnp.ones_like, leaves))
    return jnp.where(some, features_norm(moved, leading), 0)


def _any(leaf: Array, leading: int) -> Array:
    return jnp.any(leaf != 0, axis=tuple(range(leading, leaf.ndim)))


def _over(leaf: Array, unit: Array) -> Array:
    return (leaf / beside_features(unit, leaf)).astype(leaf.dtype)
