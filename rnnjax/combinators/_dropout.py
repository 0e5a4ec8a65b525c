"""Dropout on a cell's input and on its recurrent connection."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_cell, check_rate, is_inexact
from rnnjax._fields import field, with_fields
from rnnjax._random import keep_mask, next_keys
from rnnjax._types import Around, Array, Carry, Cell, Clip, Params, PyTree, Rule, Structure, known
from rnnjax.combinators._inner import combinator, inner_forward, start_random


class InputDropoutCarry(NamedTuple):
    cell: Carry
    keys: Array | None  # [...] PRNG keys, one an example; None in evaluation


class RecurrentDropoutCarry(NamedTuple):
    cell: Carry
    kept: Array | None  # [..., H] booleans, noise and no state; None in evaluation


@combinator
def input_dropout(cell: Cell, rate: float, *, same_mask: bool = False) -> Cell:
    """Inverted dropout on the inputs of a cell.

        m_t ~ Bernoulli(1 - rate) / (1 - rate)
        carry_t, y_t = step(params, carry_{t-1}, m_t ⊙ x_t)

    Active when the carry was made with a key: `unroll(..., key=key)` or
    `initial_carry(params, batch_shape, key)`. Without one the cell is left as it is.

    Args:
      cell: any cell.
      rate: the probability of dropping a feature, in [0, 1).
      same_mask: use one mask for all steps of a sequence (variational dropout) rather than a
        new one at every step.

    Returns:
      A `Cell` with the same params and an `InputDropoutCarry`.

    Raises:
      TypeError: `cell` is not a `Cell`.
      ValueError: rate outside [0, 1).

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.input_dropout(rnnjax.lstm(4), 0.5)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> xs = jax.numpy.ones((5, 2))
      >>> training = rnnjax.unroll(cell, params, xs, key=jax.random.key(1))[1]
      >>> evaluation = rnnjax.unroll(cell, params, xs)[1]

    References:
      Zaremba, Sutskever & Vinyals (2014), Recurrent neural network regularization,
      arXiv 1409.2329 (a new mask at every step).
      Gal & Ghahramani (2016), A theoretically grounded application of dropout in recurrent
      neural networks, NeurIPS (the same mask).
    """
    check_rate("rate", rate)
    inner = known(check_cell(cell))

    def initial_carry(
        params: Params, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> InputDropoutCarry:
        return InputDropoutCarry(*start_random(cell, params, batch_shape, key))

    def draw(keys: Array | None) -> tuple[Array | None, Array | None]:
        """The keys to carry on, and those of this step's mask."""
        return (keys, keys) if keys is None or same_mask else next_keys(keys)

    def masked(params: Params, now: Array | None, x: PyTree) -> PyTree:
        del params
        return _times(_input_masks(now, rate, x), x)

    def step(params: Params, carry: InputDropoutCarry, x_t: PyTree):
        keys, now = draw(carry.keys)
        new, y_t = cell.step(params, carry.cell, masked(params, now, x_t))
        return InputDropoutCarry(new, keys), y_t

    rule = None if cell.rule is None else _input_dropout_rule(cell.rule, draw, rate)
    structure = Structure(
        around=Around(cell, split=tuple, join=InputDropoutCarry, draw=draw, before=masked),
        feature_axes=inner.feature_axes,
        params=inner.params,
    )
    return Cell(cell.init, initial_carry, step, rule, structure)


def _input_masks(keys: Array | None, rate: float, x: PyTree) -> PyTree:
    """The mask of every real leaf [..., *features] of x, from keys [...]; None without keys."""
    if keys is None:
        return None
    drawn: list[Array] = []
    leaves, tree = jax.tree.flatten(x)
    for index, leaf in enumerate(leaves):
        if not is_inexact(leaf):
            drawn.append(jnp.ones((), leaf.dtype))
            continue
        own = keys
        if index:  # the first leaf, often the only one, takes the key as it is
            own = jax.vmap(lambda k, i=index: jax.random.fold_in(k, i))(keys.reshape(-1))
            own = own.reshape(keys.shape)
        drawn.append(_scaled(keep_mask(own, rate, leaf.shape[keys.ndim :]), rate, leaf.dtype))
    return jax.tree.unflatten(tree, drawn)


def _times(m: PyTree, x_t: PyTree) -> PyTree:
    return x_t if m is None else jax.tree.map(lambda a, x: a * x, m, x_t)


def _input_dropout_rule(inner: Rule, draw, rate: float) -> Rule:
    def project(params: Params, xs: PyTree) -> PyTree:
        del params
        return xs  # the mask comes from the carry, so the product with W_x waits for it

    def forward(params: Params, carry: InputDropoutCarry, x_t: PyTree):
        keys, now = draw(carry.keys)
        m = _input_masks(now, rate, x_t)
        seen = _times(m, x_t)
        (new, y_t), tape = inner_forward(inner, params, carry.cell, seen)
        return (InputDropoutCarry(new, keys), y_t), (tape, m, seen)

    def backward(params: Params, tape, carry_ct: InputDropoutCarry, y_ct: PyTree, clip: Clip):
        ct, delta = inner.backward(params, tape[0], carry_ct.cell, y_ct, clip)
        return InputDropoutCarry(ct, None), delta

    def gradients(params: Params, xs: PyTree, tapes, deltas):
        # x̃_t = m_t x_t:   ∂C/∂x_t = m_t ∂C/∂x̃_t
        del xs
        tape, m, seen = tapes
        params_ct, seen_ct = inner.gradients(params, seen, tape, deltas)
        return params_ct, _times(m, seen_ct)

    return Rule(project, forward, backward, gradients)


@combinator
def recurrent_dropout(cell: Cell, rate: float) -> Cell:
    """Variational dropout on the recurrent connection: one mask for all steps of a sequence.

        m ~ Bernoulli(1 - rate) / (1 - rate), once
        carry_t, y_t = step(params, (m ⊙ h_{t-1}, …), x_t)

    For cells that read h_{t-1} through the product with W_h alone, and say so in
    `Structure.through_weights`: vanilla and LSTM cells, and yours of that kind. A GRU or an
    identity cell also adds h_{t-1} to h_t directly, so a mask on it would erase the memory of some
    units and multiply that of the others by 1 / (1 - rate) at every step; `zoneout` is made for
    those.

    Active when the carry was made with a key, as `input_dropout`.

    Args:
      cell: a cell with "h" in its `structure.through_weights`.
      rate: the probability of dropping a unit, in [0, 1).

    Returns:
      A `Cell` with the same params and a `RecurrentDropoutCarry`.

    Raises:
      TypeError: `cell` is not a `Cell`.
      ValueError: rate outside [0, 1), or a cell that does not say that it reads h through weights
        alone.

    References:
      Gal & Ghahramani (2016), A theoretically grounded application of dropout in recurrent
      neural networks, NeurIPS.
    """
    check_rate("rate", rate)
    inner = known(check_cell(cell))
    if "h" not in inner.through_weights:
        raise ValueError(
            f"recurrent_dropout masks a carry field h that is read through W_h alone, and {cell!r} "
            "does not say that it has one: use zoneout or input_dropout here, and inside stack() "
            "wrap the single cells. A cell of yours of that kind says so with "
            "Structure(through_weights=('h',))"
        )

    def initial_carry(
        params: Params, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> RecurrentDropoutCarry:
        carry, keys = start_random(cell, params, batch_shape, key)
        if keys is None:
            return RecurrentDropoutCarry(carry, None)
        return RecurrentDropoutCarry(
            carry, keep_mask(keys, rate, field(carry, "h").shape[keys.ndim :])
        )

    def masked(carry: Carry, kept: Array | None) -> Carry:
        if kept is None:
            return carry
        h = field(carry, "h")
        return with_fields(carry, {"h": _scaled(kept, rate, h.dtype) * h})

    def step(params: Params, carry: RecurrentDropoutCarry, x_t: PyTree):
        new, y_t = cell.step(params, masked(carry.cell, carry.kept), x_t)
        return RecurrentDropoutCarry(new, carry.kept), y_t

    rule = None if cell.rule is None else _recurrent_dropout_rule(cell.rule, masked)
    structure = Structure(feature_axes=inner.feature_axes, params=inner.params)
    return Cell(cell.init, initial_carry, step, rule, structure)


def _recurrent_dropout_rule(inner: Rule, masked) -> Rule:
    def forward(params: Params, carry: RecurrentDropoutCarry, z_t):
        (new, y_t), tape = inner.forward(params, masked(carry.cell, carry.kept), z_t)
        return (RecurrentDropoutCarry(new, carry.kept), y_t), (tape, carry.kept)

    def backward(params: Params, tape, carry_ct: RecurrentDropoutCarry, y_ct: PyTree, clip: Clip):
        # h̃ = m h_{t-1}:   ∂C/∂h_{t-1} = m ∂C/∂h̃
        inner_tape, kept = tape
        ct, delta = inner.backward(params, inner_tape, carry_ct.cell, y_ct, clip)
        return RecurrentDropoutCarry(masked(ct, kept), None), delta

    def gradients(params: Params, xs: PyTree, tapes, deltas):
        return inner.gradients(params, xs, tapes[0], deltas)

    return Rule(inner.project, forward, backward, gradients)


def _scaled(kept: Array, rate: float, dtype: jnp.dtype) -> Array:
    return kept.astype(dtype) / (1 - rate)
