"""Cells that freeze their carry in padding, and restart it where an episode begins.

Both wrap a cell and its rule, so that every gradient and method handles variable lengths and
resets without knowing of them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import (
    Array,
    Backward,
    Carry,
    Cell,
    Clip,
    Forward,
    Inverse,
    Linear,
    Params,
    PyTree,
    Rule,
    Structure,
    Tape,
    initial_carry as carry_of,
    known,
)


class Flagged(NamedTuple):
    """One step's input, or its projection, beside the flag of each example."""

    value: PyTree
    flag: Any  # Array [...] bool; None in a cotangent


class RestartCarry(NamedTuple):
    current: Carry
    initial: Carry  # what `current` goes back to where an episode begins


def final_carry(carry: Carry) -> Carry:
    """The carry of the user's cell, from the last carry of a prepared scan, or its cotangent."""
    return carry.current if isinstance(carry, RestartCarry) else carry


def beside_features(x: Array, like: Any) -> Array:
    """x `[...]` with an axis of size 1 for each feature axis of `like` [..., *features]."""
    return x.reshape(x.shape + (1,) * (jnp.ndim(like) - x.ndim))


def select(flag: Array, on_true: PyTree, on_false: PyTree) -> PyTree:
    """Leaf by leaf, `on_true` for the examples whose flag [...] is set, else `on_false`."""

    def pick(a: Any, b: Any) -> Array:
        if not _are_alike(a, b):
            return jnp.where(beside_features(flag, a), a, b)
        # `jnp.where` is a program inside the program, traced again by each transformation.
        chosen = jax.lax.broadcast_in_dim(flag, a.shape, tuple(range(flag.ndim)))
        return jax.lax.select_n(chosen, b, a)

    return jax.tree.map(pick, on_true, on_false)


def _are_alike(a: Any, b: Any) -> bool:
    """Whether two leaves are arrays of one shape and dtype."""
    is_array = all(hasattr(x, "shape") and hasattr(x, "dtype") for x in (a, b))
    return is_array and a.shape == b.shape and a.dtype == b.dtype


def zeros_like(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.zeros_like, tree)


def _flagged_rule(inner: Rule, forward: Forward, backward: Backward) -> Rule:
    """A rule on `Flagged` inputs whose steps save `(tape_t of the inner rule, flag)`."""

    def project(params: Params, xs: Flagged) -> Flagged:
        return Flagged(inner.project(params, xs.value), xs.flag)

    def gradients(params: Params, xs: Flagged, tapes: Tape, deltas: PyTree):
        params_ct, xs_ct = inner.gradients(params, xs.value, tapes[0], deltas)
        return params_ct, Flagged(xs_ct, None)

    return Rule(project, forward, backward, gradients)


def freezing(cell: Cell) -> Cell:
    """A cell on `Flagged(x_t, valid)`: where not valid, the carry stays and the output is zero.

    Padding must be finite, and so must the derivatives of the step there: `fill_padding` sees to
    that, so that nothing in it, NaN included, reaches a value or a gradient.
    """

    def step(params: Params, carry: Carry, x_t: Flagged) -> tuple[Carry, Array]:
        new, y_t = cell.step(params, carry, x_t.value)
        return select(x_t.flag, new, carry), select(x_t.flag, y_t, zeros_like(y_t))

    linear = known(cell).linear
    structure = Structure(
        linear=None if linear is None else _freezing_linear(linear),
        inverse=_freezing_inverse(known(cell).inverse),
    )
    rule = None if cell.rule is None else _freezing_rule(cell.rule)
    return Cell(cell.init, cell.initial_carry, step, rule, structure)


def _freezing_inverse(inner: Inverse | None) -> Inverse | None:
    def inverse(params: Params, carry: Carry, x_t: Flagged) -> Carry:
        return select(x_t.flag, inner(params, carry, x_t.value), carry)  # pyright: ignore

    return inner and inverse


def _freezing_linear(inner: Linear) -> Linear:
    """a = 1 and b = 0 where the carry stays."""

    def coefficients(params: Params, xs: Flagged) -> tuple[Carry, Carry]:
        a, b = inner.coefficients(params, xs.value)
        ones = jax.tree.map(lambda leaf: _unit(inner, leaf), a)
        return select(xs.flag, a, ones), select(xs.flag, b, zeros_like(b))

    def readout(params: Params, carry: Carry, xs: Flagged) -> PyTree:
        ys = inner.readout(params, carry, xs.value)
        return select(xs.flag, ys, zeros_like(ys))

    return inner._replace(coefficients=coefficients, readout=readout)


def _unit(linear: Linear, a: Array) -> Array:
    """What leaves a carry as it is, in the shape of a_t."""
    if linear.product == "diagonal":
        return jnp.ones_like(a)
    return jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), a.shape)


def _freezing_rule(inner: Rule) -> Rule:
    def forward(params: Params, carry: Carry, z_t: Flagged):
        (new, y_t), tape_t = inner.forward(params, carry, z_t.value)
        held = select(z_t.flag, new, carry), select(z_t.flag, y_t, zeros_like(y_t))
        return held, (tape_t, z_t.flag)

    def backward(params: Params, tape: Tape, carry_ct: Carry, y_ct: Array, clip: Clip):
        # A frozen step passes ∂C/∂carry_t on unchanged; the cell sees none of it.
        tape_t, valid = tape
        zero = zeros_like(carry_ct)
        active_ct = select(valid, carry_ct, zero)
        y_ct = select(valid, y_ct, zeros_like(y_ct))
        moved_ct, delta = inner.backward(params, tape_t, active_ct, y_ct, clip)
        held_ct = select(valid, zero, carry_ct)
        return jax.tree.map(jnp.add, moved_ct, held_ct), delta

    return _flagged_rule(inner, forward, backward)


def restarting(cell: Cell) -> Cell:
    """A cell on `Flagged(x_t, begins)`: where an episode begins, the carry restarts first."""

    def initial_carry(
        params: Params, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> RestartCarry:
        carry = carry_of(cell, params, batch_shape, key)
        return RestartCarry(carry, carry)

    def step(params: Params, carry: RestartCarry, x_t: Flagged) -> tuple[RestartCarry, Array]:
        before = select(x_t.flag, carry.initial, carry.current)
        new, y_t = cell.step(params, before, x_t.value)
        return RestartCarry(new, carry.initial), y_t

    rule = None if cell.rule is None else _restarting_rule(cell.rule)
    return Cell(cell.init, initial_carry, step, rule)


def _restarting_rule(inner: Rule) -> Rule:
    def forward(params: Params, carry: RestartCarry, z_t: Flagged):
        before = select(z_t.flag, carry.initial, carry.current)
        (new, y_t), tape_t = inner.forward(params, before, z_t.value)
        return (RestartCarry(new, carry.initial), y_t), (tape_t, z_t.flag)

    def backward(params: Params, tape: Tape, carry_ct: RestartCarry, y_ct: Array, clip: Clip):
        # The carry before the step came from the initial one where the episode began.
        tape_t, begins = tape
        before_ct, delta = inner.backward(params, tape_t, carry_ct.current, y_ct, clip)
        zero = zeros_like(before_ct)
        initial_ct = jax.tree.map(jnp.add, carry_ct.initial, select(begins, before_ct, zero))
        return RestartCarry(select(begins, zero, before_ct), initial_ct), delta

    return _flagged_rule(inner, forward, backward)
