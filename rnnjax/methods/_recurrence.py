"""A recurrence over all of time at once, from a guess of its states, and its Jacobians.

The state s is the carry as one real vector of S entries: the differentiable leaves side by side, as
`rnnjax.running.pack` does. Leaves that are not, such as PRNG keys, follow a loop of their own.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import is_inexact
from rnnjax._fields import within_units
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.methods._linear_scan import linear_scan, shifted
from rnnjax.running import RestartCarry, final_carry, pack, unpack, vary_along, varying_axes

Blocks = Literal["dense", "units", "diagonal"]
"""What of ∂s_t/∂s_{t-1} is kept: all, what is within each unit, or the diagonal."""


class Problem(NamedTuple):
    """What `prepare` makes of a sequence."""

    carry: Carry
    xs: PyTree  # leaves [T, ..., *features]
    begins: Array | None  # [T, ...] bool


class Steps(NamedTuple):
    """All steps at once, each from its own guess of the state before."""

    s: Array  # [T, ..., S] the states that they lead to
    carries: Carry  # leaves [T, ...]: the same, as carries of the user's cell
    ys: PyTree
    keys_hold: Array  # [...] bool: what is not differentiable came out as guessed


@dataclass(frozen=True)
class Recurrence:
    """A prepared cell, and in which direction it runs."""

    cell: Cell
    reverse: bool
    batch_ndim: int
    units: int  # H, if every differentiable leaf has as many entries; else 0
    mixing: tuple[str, ...] | None  # `Structure.mixing`

    def first(self, problem: Problem) -> Array:
        """The initial state [..., S]."""
        return self.vector(final_carry(problem.carry), self.batch_ndim)

    def vector(self, carry: Carry, leading: int) -> Array:
        return pack([x for x in jax.tree.leaves(carry) if is_inexact(x)], leading)

    def carry_of(self, vector: Array, rest: Carry | None, like: Carry) -> Carry:
        """Inverse of `vector`, the leaves that are not differentiable from `rest`, or None."""
        old, tree = jax.tree.flatten(like)
        leading = vector.shape[:-1]
        shapes = [
            jnp.zeros((*leading, *x.shape[self.batch_ndim :]), x.dtype)
            for x in old
            if is_inexact(x)
        ]
        new = iter(unpack(vector, shapes))
        kept = [None] * len(old) if rest is None else jax.tree.leaves(rest)
        leaves = [next(new) if is_inexact(x) else k for x, k in zip(old, kept, strict=True)]
        return jax.tree.unflatten(tree, leaves)

    def one(self, params: Params, problem: Problem, current: Carry, x_t: PyTree) -> Any:
        """One step between carries of the user's cell."""
        carry = problem.carry
        if isinstance(carry, RestartCarry):
            new, y_t = self.cell.step(params, RestartCarry(current, carry.initial), x_t)
        else:
            new, y_t = self.cell.step(params, current, x_t)
        return final_carry(new), y_t

    def before(self, params: Params, problem: Problem, s: Array) -> Carry:
        """The carries [T, ...] that the steps start from, if these are the states."""
        like = final_carry(problem.carry)
        moved = shifted(s, self.first(problem), self.reverse)
        return self.carry_of(moved, self._rest(params, problem), like)

    def _rest(self, params: Params, problem: Problem) -> Carry:
        """The carries before each step, of which only what is not differentiable is right."""
        carry = final_carry(problem.carry)
        steps = jax.tree.leaves(problem.xs)[0].shape[0]
        if all(map(is_inexact, jax.tree.leaves(carry))):
            return jax.tree.map(lambda x: jnp.broadcast_to(x, (steps, *x.shape)), carry)

        def body(now: Carry, x_t: PyTree) -> tuple[Carry, Carry]:
            new = self.one(params, problem, now, x_t)[0]
            kept = jax.tree.map(lambda a, b: a if is_inexact(a) else b, now, new)
            return kept, now

        return jax.lax.scan(body, carry, problem.xs, reverse=self.reverse)[1]

    def steps(self, params: Params, problem: Problem, s: Array) -> Steps:
        """What all steps give from these states [T, ..., S]."""
        before = self.before(params, problem, s)
        new, ys = jax.vmap(partial(self.one, params, problem))(before, problem.xs)
        hold = jnp.ones(s.shape[1:-1], bool)
        for a, b, c in zip(
            *map(jax.tree.leaves, (new, before, final_carry(problem.carry))), strict=True
        ):
            if not is_inexact(a):
                same = _plain(shifted(a, c, self.reverse)) == _plain(b)
                axes = (0, *range(1 + self.batch_ndim, same.ndim))
                hold &= jnp.all(same, axis=axes)
        return Steps(self.vector(new, 1 + self.batch_ndim), new, ys, hold)

    def in_blocks(self, blocks: Blocks, v: Array) -> Array:
        """Vectors [..., S] as [..., M, K]: M blocks of K entries."""
        if blocks == "dense":
            return v[..., None, :]
        if blocks == "diagonal":
            return v[..., None]
        return v.reshape(*v.shape[:-1], -1, self.units).swapaxes(-1, -2)

    def from_blocks(self, blocks: Blocks, v: Array) -> Array:
        if blocks == "units":
            v = v.swapaxes(-1, -2)
        return v.reshape(*v.shape[:-2], -1)

    def exact_blocks(self) -> Blocks:
        """The smallest blocks that hold all of the Jacobian."""
        return "units" if self.units and self.mixing == () else "dense"

    def quasi_blocks(self) -> Blocks:
        """The largest blocks that cost no more than a few steps."""
        by_rule = self.units and self.mixing is not None and self.cell.rule is not None
        return "units" if by_rule else "diagonal"

    def jacobian(self, blocks: Blocks, params: Params, problem: Problem, s: Array) -> Array:
        """∂s_t[i]/∂s_{t-1}[j] of all steps at once: [T, ..., M, K, K], its blocks."""
        before = self.before(params, problem, s)
        if blocks == "diagonal":
            return self._diagonal(params, problem, before)
        if blocks == "units" and self.mixing:
            return self._units_by_rule(params, problem, before)
        # Where no unit reaches another, all of them are probed at once.
        in_units = blocks == "units"
        basis = self._leaves_of_ones(s) if in_units else jnp.eye(s.shape[-1], dtype=s.dtype)
        basis = vary_along(varying_axes((params, problem, s)), basis)
        pushed = self._pushes(params, problem, before, basis)  # [T, ..., P, S]
        return jnp.moveaxis(self.in_blocks(blocks, pushed), self.batch_ndim + 1, -1)

    def _pushes(self, params: Params, problem: Problem, before: Carry, basis: Array) -> Array:
        """J_t v for every row v of basis [P, S]: [T, ..., P, S].

        Tangents are mapped inside of time and batch: their products with weights are the same
        everywhere, and computed once.
        """

        def pushed(carry: Carry, now: Carry, x_t: PyTree) -> Array:
            single = self._single()

            def at(v: Array) -> Array:
                held = problem._replace(carry=carry)
                new = single.one(params, held, single.carry_of(v, now, now), x_t)[0]
                return single.vector(new, 0)

            here = single.vector(now, 0)
            return jax.vmap(lambda v: jax.jvp(at, (here,), (v,))[1])(basis)

        for _ in range(self.batch_ndim):
            pushed = jax.vmap(pushed)
        return jax.vmap(pushed, (None, 0, 0))(problem.carry, before, problem.xs)

    def _leaves_of_ones(self, s: Array) -> Array:
        """[K, S]: vectors that are one in all units of one leaf, for s [..., S]."""
        return jnp.repeat(jnp.eye(s.shape[-1] // self.units, dtype=s.dtype), self.units, axis=1)

    def _single(self) -> "Recurrence":
        return Recurrence(self.cell, self.reverse, 0, self.units, self.mixing)

    def _diagonal(self, params: Params, problem: Problem, before: Carry) -> Array:
        """One tangent after the other, so that no S² numbers are there at once."""
        leading = 1 + self.batch_ndim
        here = self.vector(before, leading)

        def at(s: Array) -> Array:
            now = self.carry_of(s, before, final_carry(problem.carry))
            new, _ = jax.vmap(partial(self.one, params, problem))(now, problem.xs)
            return self.vector(new, leading)

        _, push = jax.linearize(at, here)
        size = here.shape[-1]

        def entry(i: Array) -> Array:
            v = jnp.broadcast_to(jax.nn.one_hot(i, size, dtype=here.dtype), here.shape)
            v = vary_along(varying_axes(here), v)
            return jax.lax.dynamic_index_in_dim(push(v), i, -1, keepdims=False)

        diagonal = jax.lax.map(entry, jnp.arange(size))
        return jnp.moveaxis(diagonal, 0, -1)[..., None, None]

    def _units_by_rule(self, params: Params, problem: Problem, before: Carry) -> Array:
        """By one backward step from each leaf, with weights that join no two units."""
        rule: Any = self.cell.rule  # there is one, see `quasi_blocks`
        own = within_units(params, self.mixing or ())
        restarts = isinstance(problem.carry, RestartCarry)
        size = jax.eval_shape(lambda: self.first(problem)).shape[-1]

        def rows(now: Carry, x_t: PyTree) -> Array:
            carry = RestartCarry(now, problem.carry.initial) if restarts else now
            (_, y_t), tape = rule.forward(params, carry, rule.project(params, x_t))

            def row(v: Array) -> Array:
                leading = jax.tree.leaves(now)[0].shape[: self.batch_ndim]
                ct = self.carry_of(jnp.broadcast_to(v, (*leading, size)), None, now)
                if restarts:
                    ct = RestartCarry(ct, jax.tree.map(jnp.zeros_like, ct))
                zeros = jax.tree.map(jnp.zeros_like, y_t)
                before_ct, _ = rule.backward(own, tape, ct, zeros, lambda delta: delta)
                return self.vector(final_carry(before_ct), self.batch_ndim)

            basis = self._leaves_of_ones(self.vector(now, self.batch_ndim))
            basis = vary_along(varying_axes((params, now, x_t)), basis)
            return jax.vmap(row, out_axes=-2)(basis)  # [..., K, S]

        found = self.in_blocks("units", jax.vmap(rows)(before, problem.xs))  # [T, ..., K, M, K]
        return found.swapaxes(-2, -3)


def affine_scan(J: Array, b: Array, begins: Array | None, reverse: bool) -> Array:
    """δ_t = J_t δ_{t-1} + b_t from zero, whatever is before where an episode begins."""
    steps, blocks, K = b.shape[0], b.shape[-2], b.shape[-1]
    if begins is not None:
        begins = begins.reshape(steps, -1)
    if K == 1:
        a, b_t = J.reshape(steps, -1, blocks), b.reshape(steps, -1, blocks)
        zero = jnp.zeros_like(b_t[0])
        states, _ = linear_scan(a, b_t, zero, begins, product="diagonal", reverse=reverse)
        return states.reshape(b.shape)
    if begins is not None:
        begins = jnp.repeat(begins, blocks, axis=1)
    a, b_t = J.reshape(steps, -1, K, K), b.reshape(steps, -1, K, 1)
    states, _ = linear_scan(
        a, b_t, jnp.zeros_like(b_t[0]), begins, product="matrix", reverse=reverse
    )
    return states.reshape(b.shape)


def _plain(x: Array) -> Array:
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
