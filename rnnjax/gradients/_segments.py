"""A run over a sequence in segments, of which only the carries where they begin are kept.

    forward    carry_{n+1}, ys_n = run(carry_n, xs_n)      keep carry_n alone
    backward   run(carry_n, xs_n) again, differentiated    from the last segment to the first

A segment may be cut into segments again: the carries where those begin are found when the backward
pass gets there. Everything that is as long as the sequence is read and written in place, a segment
at a time: xs, ys and their cotangents. XLA drops what of these nobody asks for.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._execution import Run, Sequence
from rnnjax._leaves import differentiable
from rnnjax._linear_map import linear_map
from rnnjax._types import Array, Carry, Params, PyTree
from rnnjax.gradients._pieces import piece_of, steps_of
from rnnjax.gradients._pull_back import in_dtype_of, or_zeros, vjp
from rnnjax.running import in_float32, vary_along, varying_axes

Start = Array | int  # the first step of a segment


class _Net(NamedTuple):
    """All that is not an array."""

    run: Run
    sizes: tuple[int, ...]  # steps in a segment, then in the segments that it is cut into, ...
    reverse: bool


class _Begins(NamedTuple):
    """The carries where segments begin, in the order of the run."""

    whole: Carry  # stacked; None if there are none
    rest: Carry  # of the shorter segment that is run last; None without one


def in_segments(
    run: Run, sizes: Callable[[int], tuple[int, ...]], reverse: bool, *, by_rule: bool = True
) -> Run:
    """`run` over segments of the first of `sizes(T)`, cut into segments of the next, and so on.

    They are counted from the first step that is run; where their sizes do not divide T, the last
    segment that is run is shorter. Without `by_rule`, for a run that reads traced values that are
    not its arguments, or cannot be differentiated in all of them, it is left to `jax.checkpoint`.
    """

    def over_segments(params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
        steps = steps_of(sequence)
        # By `jit`, so that what is run several times below is traced once.
        net = _Net(jax.jit(run, inline=True), sizes(steps), reverse)
        if steps <= net.sizes[-1]:
            return run(params, sequence)
        return (_run if by_rule else _rematerialised)(net, params, sequence[:3], sequence[3:])

    return over_segments


# Differentiable in params and data = (xs, carry, fresh), not in flags = (lengths, resets).
@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _run(net: _Net, params: Params, data: Any, flags: Any) -> tuple[Carry, PyTree]:
    return _forward(net, net.run, params, Sequence(*data, *flags))[0]


@partial(_run.defjvp, symbolic_zeros=True)
def _run_jvp(net: _Net, primals: Any, tangents: Any) -> Any:
    params, data, flags = primals
    out, begins = _forward(net, _by_rule(net), params, Sequence(*data, *flags))
    forward, backward = (partial(f, net) for f in (_tangents, _backward))
    residuals = (*primals, begins)
    return out, linear_map(forward, backward, residuals, tangents[:2], out, symbolic_zeros=True)


def _tangents(net: _Net, saved: Any, tangents: Any) -> Any:
    params, data, flags, _ = saved

    def run(params: Params, data: Any) -> tuple[Carry, PyTree]:
        return _rematerialised(net, params, data, flags)

    return jax.jvp(run, (params, data), tangents)[1]


def _rematerialised(net: _Net, params: Params, data: Any, flags: Any) -> tuple[Carry, PyTree]:
    """The same by JAX's own means, to all orders."""
    # prevent_cse guards against merging the recomputation with the first pass, which cannot happen
    # across the loop over segments.
    again = jax.checkpoint(net.run, prevent_cse=False)  # pyright: ignore
    return _forward(net, again, params, Sequence(*data, *flags))[0]


def _forward(
    net: _Net, run: Run, params: Params, sequence: Sequence
) -> tuple[tuple[Carry, PyTree], _Begins]:
    """The last carry and ys, and the carries where the largest segments begin."""
    piece = piece_of(sequence, net.reverse, sequence.carry, 0, net.sizes[-1])
    steps, shapes = steps_of(sequence), jax.eval_shape(run, params, piece)[1]
    ys = jax.tree.map(lambda y: jnp.zeros((steps, *y.shape[1:]), y.dtype), shapes)
    ys = vary_along(varying_axes((params, sequence)), ys)
    return _through(net, run, params, sequence, (sequence.carry, ys), 0, steps)


def _through(
    net: _Net, run: Run, params: Params, sequence: Sequence, state: Any, start: Start, steps: int
) -> tuple[Any, _Begins]:
    """`state`, a carry and ys, after the steps from `start` on; without ys if they are None."""
    wide, narrow = in_float32(params)  # in which `_rematerialised` sums the segments' gradients

    def segment(state: Any, start: Start, size: int) -> tuple[Any, Carry]:
        carry, ys = state
        if net.sizes[1:]:
            inner = net._replace(sizes=net.sizes[1:])
            return _through(inner, run, params, sequence, state, start, size)[0], carry
        last, here = run(narrow(wide), piece_of(sequence, net.reverse, carry, start, size))
        return (last, ys if ys is None else _put(ys, here, start)), carry

    starts, rest = _plan(net, start, steps)
    whole = carry = None
    if starts is not None:
        state, whole = jax.lax.scan(partial(segment, size=net.sizes[0]), state, starts)
    if rest is not None:
        state, carry = segment(state, *rest)
    return state, _Begins(whole, carry)


def _plan(net: _Net, start: Start, steps: int) -> tuple[Array | None, tuple[Start, int] | None]:
    """Where the whole segments begin, in the order of the run; start and size of a shorter one."""
    number, rest = divmod(steps, net.sizes[0])
    starts = jnp.arange(number, dtype=jnp.int32) * net.sizes[0]
    if net.reverse:
        starts = jnp.flip(starts) + rest
    shorter = start if net.reverse else start + steps - rest
    return start + starts if number else None, (shorter, rest) if rest else None


def _backward(net: _Net, saved: Any, cotangents: Any) -> Any:
    params, data, flags, begins = saved
    sequence = Sequence(*data, *flags)
    last_ct, ys_ct = cotangents
    wide, narrow = in_float32(params)
    totals = (wide, sequence.xs, sequence.carry, sequence.fresh)
    zeros = jax.tree.map(jnp.zeros_like, differentiable(totals))
    params_ct, xs_ct, none, fresh_ct = vary_along(varying_axes((cotangents, params, data)), zeros)

    def run(wide: Params, here: Sequence) -> tuple[Carry, PyTree]:
        return net.run(narrow(wide), here)

    def segment(state: Any, start: Start, size: int, carry: Carry) -> Any:
        def enter(carry: Carry, fresh: Carry) -> Carry:
            whole = sequence._replace(fresh=fresh)
            return piece_of(whole, net.reverse, carry, start, size).carry

        params_ct, xs_ct, carry_ct, fresh_ct = state
        here = piece_of(sequence, net.reverse, carry, start, size)
        cut = partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=size)
        cts = (carry_ct, jax.tree.map(cut, ys_ct))
        of_params, (of_xs, of_entered, of_fresh) = _differentiated(run, wide, here)[1](cts)
        carry_ct, of_entry = vjp(enter, carry, sequence.fresh)[1](of_entered)
        params_ct = jax.tree.map(jnp.add, params_ct, of_params)
        fresh_ct = jax.tree.map(lambda *cts: sum(cts), fresh_ct, of_fresh, of_entry)
        return params_ct, _put(xs_ct, of_xs, start), carry_ct, fresh_ct

    def back(net: _Net, begins: _Begins, state: Any, start: Start, steps: int) -> Any:
        def cut(state: Any, start: Start, size: int, carry: Carry) -> Any:
            if not net.sizes[1:]:
                return segment(state, start, size, carry)
            inner = net._replace(sizes=net.sizes[1:])
            first = (carry, None)
            begins = _through(inner, _by_rule(net), params, sequence, first, start, size)[1]
            return back(inner, begins, state, start, size)

        def body(state: Any, at: tuple[Array, Carry]) -> tuple[Any, None]:
            return cut(state, at[0], net.sizes[0], at[1]), None

        starts, rest = _plan(net, start, steps)
        if rest is not None:
            state = cut(state, *rest, begins.rest)
        if starts is not None:
            state, _ = jax.lax.scan(body, state, (starts, begins.whole), reverse=True)
        return state

    state = (params_ct, xs_ct, or_zeros(last_ct, none), fresh_ct)
    params_ct, *data_ct = back(net, begins, state, 0, steps_of(sequence))
    return in_dtype_of(params, params_ct), tuple(data_ct)


def _by_rule(net: _Net) -> Run:
    """The run as a backward pass computes it: by a cell's rule, which may round unlike its step."""

    def run(params: Params, here: Sequence) -> tuple[Carry, PyTree]:
        return _differentiated(net.run, params, here)[0]

    return run


def _differentiated(run: Run, params: Params, here: Sequence) -> tuple[Any, Callable[..., Any]]:
    """What a run returns, and the function from its cotangents to those of params and data."""

    def of(params: Params, data: Any) -> tuple[Carry, PyTree]:
        xs, carry, fresh = data
        return run(params, here._replace(xs=xs, carry=carry, fresh=fresh))

    return vjp(of, params, here[:3])


def _put(whole: PyTree, part: PyTree, start: Start) -> PyTree:
    """`part` written over steps start … of `whole`."""
    put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=start, axis=0)
    return jax.tree.map(put, whole, part)
