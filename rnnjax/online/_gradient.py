"""Online algorithms as values of `unroll(..., gradient=...)`."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from rnnjax._calls import Value
from rnnjax._execution import Loop, Run, Sequence
from rnnjax._leaves import differentiable
from rnnjax._linear_map import linear_map
from rnnjax._random import example_keys
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.online._engine import Engine, Start, over_batch, summed
from rnnjax.online._rows import Theta, replaced, rows_ct, state
from rnnjax.running import (
    blank,
    fill_padding,
    final_carry,
    leading_shape,
    mask,
    prepare,
    revealing,
    select,
    vary_along,
    varying_axes,
)


class Online(Value):
    """A gradient that is computed forwards in time; each algorithm is a dataclass that is one."""

    name: str
    clip = None
    key: Array | None = None  # of those that draw random numbers
    exact_carry = False  # whether the initial carry has a gradient too

    @property
    def base(self) -> "Online":
        return self

    def wrap(self, run: Run, reverse: bool) -> Run:
        return run

    def refusal(self, cell: Cell) -> str | None:
        return None

    def engine(self, cell: Cell) -> Engine:
        raise NotImplementedError

    def loop(self, *args: Any) -> NoReturn:
        raise TypeError(f"{self.name}() runs a whole sequence by `bind`, not one loop")

    def bind(self, cell: Cell, loop: Loop, reverse: bool, carries: bool) -> Run:
        net = _Net(cell, self.engine(cell), loop, reverse, carries, self.name, self.exact_carry)

        def run(params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
            xs, carry, fresh, lengths, resets = sequence
            return _online(net, params, carry, fresh, xs, (lengths, resets), self.key)

        return run


@dataclass(frozen=True)
class _Net:
    """All that is not an array."""

    cell: Cell
    engine: Engine
    loop: Loop
    reverse: bool
    carries: bool
    name: str
    exact_carry: bool


def _values(
    net: _Net, params: Params, carry: Carry, fresh: Carry, xs: PyTree, flags: Any, key: Any
) -> tuple[Carry, PyTree]:
    sequence = Sequence(xs, carry, fresh, *flags)
    ready, first, inputs = prepare(net.cell, params, sequence, net.reverse)
    ready = revealing(ready) if net.carries else ready
    last, ys = net.loop.scan(partial(ready.step, params), first, inputs, net.reverse)
    return final_carry(last), ys


_online = partial(jax.custom_jvp, nondiff_argnums=(0,))(_values)


@partial(_online.defjvp, symbolic_zeros=True)
def _online_jvp(net: _Net, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
    wanted = tuple(any(map(_moves, jax.tree.leaves(tangent))) for tangent in tangents)
    _, carry, fresh, xs, _, _ = wanted
    fresh = fresh and primals[4][1] is not None  # without resets no step reads it
    if xs:
        raise ValueError(
            f"gradient={net.name}() is computed forwards in time, and xs is differentiated: "
            "what an input does to later steps is not known when it is read. Make weights that "
            "compute xs part of the cell (rnnjax.wrap, rnnjax.stack), pass "
            "jax.lax.stop_gradient(xs), or use gradient=rnnjax.bptt()"
        )
    if (carry or fresh) and not net.exact_carry:
        raise ValueError(
            f"gradient={net.name}() gives the gradient of params alone, and the initial carry is "
            "differentiated: pass carry=jax.lax.stop_gradient(carry), with learned_carry "
            "params._replace(carry=jax.lax.stop_gradient(params.carry)), or use an exact gradient, "
            "rnnjax.online.rtrl() or rnnjax.bptt()"
        )
    out = _values(net, *primals)
    residuals = primals, [() if w else None for w in (carry, fresh)]
    forward, backward = (partial(f, net) for f in (_no_forward_mode, _online_backward))
    return out, linear_map(forward, backward, residuals, tangents, out)


def _moves(tangent: Any) -> bool:
    return not isinstance(tangent, SymbolicZero)


def _no_forward_mode(net: _Net, residuals: Any, tangents: Any) -> NoReturn:
    raise TypeError(
        f"gradient={net.name}() is the gradient of a cost and has no forward mode: use "
        "gradient=autodiff() or gradient=bptt() under jvp, jacfwd and linearize"
    )


def _online_backward(net: _Net, saved: Any, cotangents: Any) -> tuple[Any, ...]:
    (params, carry, fresh, xs, flags, key), wanted = saved
    last_ct, ys_ct = cotangents
    sequence = Sequence(xs, carry, fresh, *flags)
    carry_wanted, fresh_wanted = (w is not None for w in wanted)
    _, batch_shape = leading_shape(net.cell, params, xs, flags[0])
    each = _Example(net, params, carry_wanted, fresh_wanted)
    inputs, valid, begins = mask(params, sequence, net.reverse)
    inputs = fill_padding(inputs, flags[0], valid)
    shown_ct, ys_ct = ys_ct if net.carries else (None, ys_ct)
    ys_ct = blank(valid, ys_ct)
    keys = example_keys(key, batch_shape)
    x_t, no_ct = jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), (inputs, ys_ct))
    influence = over_batch(batch_shape, each.start)(carry, x_t, keys)

    def body(running: Any, at: Any) -> tuple[Any, None]:
        now, influence, total = running
        x_t, valid_t, begins_t, shown_t, y_t = at
        one = over_batch(batch_shape, each.step)
        now, influence, part = one(now, influence, fresh, x_t, valid_t, begins_t, shown_t, y_t)
        return (now, influence, _add(batch_shape, total, part)), None

    ends = over_batch(batch_shape, each.end)
    zero = jax.eval_shape(ends, carry, influence, last_ct, no_ct)
    zero = jax.tree.map(lambda z: jnp.zeros(z.shape, z.dtype), zero)
    total = zero._replace(params=summed(batch_shape, zero.params))
    axes = varying_axes((params, carry, xs, last_ct, ys_ct))
    first = vary_along(axes, (carry, influence, total))
    steps = (inputs, valid, begins, shown_ct, ys_ct)
    (now, influence, total), _ = net.loop.scan(body, first, steps, net.reverse)
    total = _add(batch_shape, total, ends(now, influence, last_ct, no_ct))
    like = Theta(params, carry if carry_wanted else (), fresh if fresh_wanted else ())
    params_ct, carry_ct, fresh_ct = jax.tree.map(
        lambda leaf, ct: None if ct is None else ct.astype(leaf.dtype),
        *(like, total),
        is_leaf=lambda x: x is None,
    )
    return (
        params_ct,
        carry_ct if carry_wanted else None,
        fresh_ct if fresh_wanted else None,
        *(None, None, None),
    )


@dataclass(frozen=True)
class _Example:
    """The functions that run over every example."""

    net: _Net
    params: Params
    carry_wanted: bool
    fresh_wanted: bool

    def start(self, carry: Carry, x_t: PyTree, key: Array | None) -> Any:
        return self._start("carry", self.carry_wanted, carry, x_t, key)

    def _start(self, field: str, wanted: bool, carry: Carry, x_t: PyTree, key: Any) -> Any:
        """The influence where the state is `carry`, which is that field of θ."""
        own = differentiable(carry)
        theta = Theta(
            differentiable(self.params),
            own if self.carry_wanted else (),
            own if self.fresh_wanted else (),
        )

        def origin(theta: Theta) -> Array:
            return state(replaced(carry, getattr(theta, field)) if wanted else carry)

        engine, cell = self.net.engine, self.net.cell
        return engine.start(Start(cell, self.params, carry, x_t, origin, theta, key))

    def step(
        self,
        carry: Carry,
        influence: Any,
        fresh: Carry,
        x_t: PyTree,
        valid: Array | None,
        begins: Array | None,
        shown_ct: Carry,
        y_ct: PyTree,
    ) -> tuple[Carry, Any, Theta]:
        if begins is not None:
            key = getattr(influence, "key", None)
            again = self._start("fresh", self.fresh_wanted, fresh, x_t, key)
            carry, influence = select(begins, (fresh, again), (carry, influence))
        cell, engine = self.net.cell, self.net.engine
        new, _, later = engine.advance(cell, self.params, influence, carry, x_t)
        if valid is not None:
            new, later = select(valid, (new, later), (carry, influence))
        ct = rows_ct(cell, new, shown_ct, y_ct)
        return new, later, engine.read(cell, later, ct)

    def end(self, carry: Carry, influence: Any, last_ct: Carry, no_ct: PyTree) -> Theta:
        """The gradient of what reads the last carry."""
        cell = self.net.cell
        return self.net.engine.read(cell, influence, rows_ct(cell, carry, last_ct, no_ct))


def _add(batch_shape: tuple[int, ...], total: Theta, part: Theta) -> Theta:
    part = part._replace(params=summed(batch_shape, part.params))
    return jax.tree.map(jnp.add, total, part)
