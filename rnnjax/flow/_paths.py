"""`paths`: through which gate of an LSTM or a GRU the error flows back."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_cell
from rnnjax._execution import Sequence
from rnnjax._params import check_params
from rnnjax._types import Array, Carry, Cell, Params, PyTree, known
from rnnjax.cells import GRUCarry, GRUParams, LSTMCarry, LSTMParams
from rnnjax.cells.linear_algebra import affine
from rnnjax.flow._cell import choose, follow, validate_masked
from rnnjax.flow._float64 import in_float64
from rnnjax.flow._record import Recording, trace
from rnnjax.running import zeros_like

Copies = dict[str, Any]  # the carry that each path reads; all equal


class _Opened(NamedTuple):
    """A cell's step in which every path from carry_{t-1} reads a copy of its own."""

    paths: tuple[str, ...]  # the identity path first, then the gates
    step: Callable[[Params, Copies, PyTree, Array], Carry]  # the last: added to the memory
    memory: str  # the field of the carry that the identity path runs along


@dataclass(frozen=True)
class Paths:
    """The gradient by the carry at every step, in parts that sum to it; made by `paths`."""

    recording: Recording  # of the whole
    parts: dict[str, Recording]  # by the path that the error took; the identity path first
    memory: str  # the field that the identity path runs along: c of an LSTM, h of a GRU


def _flatten(found: Paths) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    return (found.recording, *found.parts.values()), (*found.parts, found.memory)


def _unflatten(names: tuple[Any, ...], found: Any) -> Paths:
    whole, *parts = found
    return Paths(whole, dict(zip(names[:-1], parts, strict=True)), names[-1])


jax.tree_util.register_pytree_node(Paths, _flatten, _unflatten)  # parts stay in their order


def gates(cell: Cell) -> tuple[str, ...]:
    """The parts that `paths` tells apart in a cell, the identity path first; empty for others.

    Raises:
      TypeError: anything but a cell.

    Example:
      >>> import rnnjax
      >>> rnnjax.flow.gates(rnnjax.gru(4))
      ('leak', 'r', 'z', 'n')
      >>> rnnjax.flow.gates(rnnjax.vanilla(4))
      ()
    """
    opened = _FORMS.get(known(check_cell(cell)).form)
    return () if opened is None else opened.paths


@in_float64
def paths(
    cell: Cell,
    params: Params,
    xs: PyTree,
    cost: Callable[[Carry, PyTree], Array],
    *,
    carry: Carry | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    mask: Array | None = None,
    last: bool = False,
) -> Paths:
    """Decompose ∂C/∂carry_t by the gate through which the state first acts on a later state.

        LSTM    ∂C/∂c_t = carousel + i + f + g + o       GRU    ∂C/∂h_t = leak + r + z + n

    Every path from c_t to the cost runs along the cell state for a while, c_{t+1} = f ⊙ c_t + …,
    until the hidden state either is read by the cost or enters a gate. `carousel` are the paths
    that enter no gate: the constant error carousel, Π f, which passes the error on without a
    weight. The other parts are the paths whose first gate is the input gate i, the forget gate f,
    the candidate g or the output gate o; beyond it they may take any. The GRU's h_t is its memory,
    h_{t+1} = z ⊙ h_t + …: `leak` are the paths along Π z alone; r, z and n those whose first way
    out is the reset gate, the update gate, or the candidate (the matrix product that the
    reset gate multiplies).

    The parts sum to the gradient that `record` finds, in each number, up to rounding. Each is a
    `Recording`: `gradient_norms(found.parts["carousel"], found.memory)` by step. Norms of parts do
    not add up: parts may cancel.

    Args:
      cell: an `lstm` or a `gru`. Of a stack pass one layer.
      params: its weights.
      xs: inputs `[T, ..., D]`.
      cost: `cost(carry, ys) -> C`, as for `record`.
      carry, lengths, resets, mask, last: as for `record`.

    Returns:
      `Paths` of the whole gradient and of its parts.

    Raises:
      TypeError: as `record`.
      ValueError: a cell whose gates are not known, and as `record`.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.lstm(2)
      >>> params, xs = cell.init(jax.random.key(0), 1), jax.numpy.ones((3, 1))
      >>> found = rnnjax.flow.paths(cell, params, xs, lambda carry, ys: ys[-1].sum())
      >>> list(found.parts)
      ['carousel', 'i', 'f', 'g', 'o']
      >>> whole = sum(part.carry_ct.c for part in found.parts.values())
      >>> bool(jax.numpy.allclose(whole, found.recording.carry_ct.c))
      True

    References:
      Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9.
      Gers, Schmidhuber & Cummins (2000), Learning to forget, Neural Computation 12.
    """
    names = gates(cell)
    if not names:
        raise ValueError(
            f"paths knows the gates of rnnjax.lstm and rnnjax.gru, got {cell}: of a stack or a "
            "wrapped cell pass the lstm or gru inside, with its own params and inputs"
        )
    opened = _FORMS[known(cell).form]
    params = check_params(cell, params)
    sequence, steps, batch_shape, in_time = validate_masked(
        cell, params, xs, mask, carry, None, lengths, resets
    )
    cost = cost if in_time is None else in_time.cost(cost)
    whole, end_ct, ys_ct = trace(cell, params, sequence, (steps, *batch_shape), cost, last)
    parts = _run(opened, params, sequence, end_ct, ys_ct)
    of_parts = [replace(whole, carry_ct=part) for part in parts]
    return Paths(whole, dict(zip(names, of_parts, strict=True)), opened.memory)


@partial(jax.jit, static_argnums=0)
def _run(
    opened: _Opened, params: Params, sequence: Sequence, end_ct: Carry, ys_ct: Array
) -> list[Carry]:
    """The parts of ∂C/∂carry_t, each `[T, ...]`: backwards, the step's derivative by each copy."""

    def forth(carry: Carry, x_t: PyTree, valid: Any, begins: Any, _: None):
        new = opened.step(params, dict.fromkeys(opened.paths, carry), x_t, _none(carry))
        return new, None, (carry, x_t, jnp.asarray(valid), jnp.asarray(begins))

    visited = follow(params, sequence, None, forth)[1]
    count, identity = len(opened.paths), opened.paths[0]

    def at_identity(ct: Array) -> Array:
        """A derivative that no gate has touched: `[paths, ...]`."""
        return jnp.zeros((count, *ct.shape), ct.dtype).at[0].set(ct)

    def body(held: Carry, visit: Any) -> tuple[Carry, Carry]:
        (before, x_t, valid, begins), y_ct = visit
        parts = held._replace(h=held.h + at_identity(y_ct))  # y_t = h_t
        copies = dict.fromkeys(opened.paths, before)
        by_copy = jax.vjp(partial(_at, opened, params, x_t), copies, _none(before))[1]
        pulled, memory = jax.vmap(by_copy)(parts)
        found = parts._replace(**{opened.memory: memory})
        moved = [
            jax.tree.map(lambda ct: jnp.sum(ct, axis=0), pulled[name]) for name in opened.paths[1:]
        ]
        parts_before = jax.tree.map(
            lambda along, *gates: along.at[1:].add(jnp.stack(gates)), pulled[identity], *moved
        )
        parts_before = _where(begins, zeros_like(parts), parts_before)
        return _where(valid, parts_before, held), _where(valid, found, zeros_like(found))

    found = jax.lax.scan(body, jax.tree.map(at_identity, end_ct), (visited, ys_ct), reverse=True)[1]
    return [jax.tree.map(lambda ct, k=k: ct[:, k], found) for k in range(count)]


def _at(opened: _Opened, params: Params, x_t: PyTree, copies: Copies, nudge: Array) -> Carry:
    return opened.step(params, copies, x_t, nudge)


def _where(flag: Array, on_true: Carry, on_false: Carry) -> Carry:
    """By example; leaves are `[paths, ...]`."""
    return jax.tree.map(lambda a, b: jax.vmap(partial(choose, flag))(a, b), on_true, on_false)


def _none(carry: Carry) -> Array:
    return jnp.zeros_like(carry.h)


def _lstm(params: LSTMParams, copies: Copies, x_t: Array, nudge: Array) -> LSTMCarry:
    pre = _pre_activations(params, {gate: copies[gate].h for gate in "ifgo"}, x_t)
    i, f, o = (jax.nn.sigmoid(pre[gate]) for gate in "ifo")
    c = f * copies["carousel"].c + i * jnp.tanh(pre["g"]) + nudge
    return LSTMCarry(o * jnp.tanh(c), c)


def _gru_after(params: GRUParams, copies: Copies, x_t: Array, nudge: Array) -> GRUCarry:
    hidden = nudge.shape[-1]
    pre = _pre_activations(params, {gate: copies[gate].h for gate in "rz"}, x_t)
    recurrent = affine(copies["n"].h, params.w_h[:, 2 * hidden :], params.b_hn)
    projected = affine(x_t, params.w_x[:, 2 * hidden :], params.b[2 * hidden :])
    n = jnp.tanh(projected + jax.nn.sigmoid(pre["r"]) * recurrent)
    return _blended(pre["z"], n, copies, nudge)


def _gru_before(params: GRUParams, copies: Copies, x_t: Array, nudge: Array) -> GRUCarry:
    pre = _pre_activations(params, {gate: copies[gate].h for gate in "rz"}, x_t)
    reset = jax.nn.sigmoid(pre["r"]) * copies["n"].h
    n = jnp.tanh(_pre_activations(params, {"n": reset}, x_t, place=2)["n"])
    return _blended(pre["z"], n, copies, nudge)


def _blended(z: Array, n: Array, copies: Copies, nudge: Array) -> GRUCarry:
    z = jax.nn.sigmoid(z)
    return GRUCarry((1 - z) * n + z * copies["leak"].h + nudge)


def _pre_activations(
    params: Any, states: dict[str, Array], x_t: Array, place: int = 0
) -> dict[str, Array]:
    """x_t W_x + h W_h + b, each gate's block with a state of its own."""
    hidden = params.w_h.shape[0]
    found = {}
    for k, (gate, h) in enumerate(states.items(), place):
        block = slice(k * hidden, (k + 1) * hidden)
        found[gate] = affine(x_t, params.w_x[:, block], params.b[block]) + h @ params.w_h[:, block]
    return found


_FORMS = {
    "lstm": _Opened(("carousel", "i", "f", "g", "o"), _lstm, "c"),
    ("gru", "after"): _Opened(("leak", "r", "z", "n"), _gru_after, "h"),
    ("gru", "before"): _Opened(("leak", "r", "z", "n"), _gru_before, "h"),
}
