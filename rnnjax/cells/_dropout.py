"""Dropout on a cell's input and on its recurrent connection."""

from typing import NamedTuple

import jax

from rnnjax._checks import check_rate
from rnnjax._types import Array, Carry, Cell, Clip, Params, Rule
from rnnjax.cells._compose import inner_forward, keep_mask, next_keys, start_random
from rnnjax.cells._gru import GRUCarry
from rnnjax.cells._identity import IdentityCarry


class InputDropoutCarry(NamedTuple):
    cell: Carry
    keys: Array | None  # [...] PRNG keys, one an example; None in evaluation


class RecurrentDropoutCarry(NamedTuple):
    cell: Carry
    mask: Array | None  # [..., H] 0 or 1 / (1 - rate); None in evaluation


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

    def initial_carry(
        params: Params, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> InputDropoutCarry:
        return InputDropoutCarry(*start_random(cell, params, batch_shape, key))

    def mask(carry: InputDropoutCarry, x_t: Array) -> tuple[Array | None, Array | None]:
        """The keys to carry on and the mask of this step."""
        if carry.keys is None:
            return None, None
        later, now = (carry.keys, carry.keys) if same_mask else next_keys(carry.keys)
        return later, _scaled(keep_mask(now, rate, x_t.shape[-1]), rate, x_t)

    def step(params: Params, carry: InputDropoutCarry, x_t: Array):
        keys, m = mask(carry, x_t)
        new, y_t = cell.step(params, carry.cell, x_t if m is None else m * x_t)
        return InputDropoutCarry(new, keys), y_t

    rule = None if cell.rule is None else _input_dropout_rule(cell.rule, mask)
    return Cell(cell.init, initial_carry, step, rule)


def _input_dropout_rule(inner: Rule, mask) -> Rule:
    def project(params: Params, xs: Array) -> Array:
        del params
        return xs  # the mask comes from the carry, so the product with W_x waits for it

    def forward(params: Params, carry: InputDropoutCarry, x_t: Array):
        keys, m = mask(carry, x_t)
        seen = x_t if m is None else m * x_t
        (new, y_t), tape = inner_forward(inner, params, carry.cell, seen)
        return (InputDropoutCarry(new, keys), y_t), (tape, m, seen)

    def backward(params: Params, tape, carry_ct: InputDropoutCarry, y_ct: Array, clip: Clip):
        ct, delta = inner.backward(params, tape[0], carry_ct.cell, y_ct, clip)
        return InputDropoutCarry(ct, None), delta

    def gradients(params: Params, xs: Array, tapes, deltas):
        # x̃_t = m_t x_t:   ∂C/∂x_t = m_t ∂C/∂x̃_t
        del xs
        tape, m, seen = tapes
        params_ct, seen_ct = inner.gradients(params, seen, tape, deltas)
        return params_ct, seen_ct if m is None else m * seen_ct

    return Rule(project, forward, backward, gradients)


def recurrent_dropout(cell: Cell, rate: float) -> Cell:
    """Variational dropout on the recurrent connection: one mask for all steps of a sequence.

        m ~ Bernoulli(1 - rate) / (1 - rate), once
        carry_t, y_t = step(params, (m ⊙ h_{t-1}, …), x_t)

    For cells that read h_{t-1} only through the product with W_h: vanilla and LSTM cells, and
    users' cells of that kind. A GRU or an identity cell also adds h_{t-1} to h_t directly, so a
    mask on it would erase the memory of some units and multiply that of the others by
    1 / (1 - rate) at every step; `zoneout` is made for those.

    Active when the carry was made with a key, as `input_dropout`.

    Args:
      cell: a cell whose carry has a field `h`.
      rate: the probability of dropping a unit, in [0, 1).

    Returns:
      A `Cell` with the same params and a `RecurrentDropoutCarry`.

    Raises:
      ValueError: rate outside [0, 1), or (when the carry is made) a cell that this does not suit.

    References:
      Gal & Ghahramani (2016), A theoretically grounded application of dropout in recurrent
      neural networks, NeurIPS.
    """
    check_rate("rate", rate)

    def initial_carry(
        params: Params, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> RecurrentDropoutCarry:
        inner, keys = start_random(cell, params, batch_shape, key)
        _check_recurrent(inner)
        if keys is None:
            return RecurrentDropoutCarry(inner, None)
        keep = keep_mask(keys, rate, inner.h.shape[-1])
        return RecurrentDropoutCarry(inner, _scaled(keep, rate, inner.h))

    def step(params: Params, carry: RecurrentDropoutCarry, x_t: Array):
        new, y_t = cell.step(params, _masked(carry.cell, carry.mask), x_t)
        return RecurrentDropoutCarry(new, carry.mask), y_t

    rule = None if cell.rule is None else _recurrent_dropout_rule(cell.rule)
    return Cell(cell.init, initial_carry, step, rule)


def _recurrent_dropout_rule(inner: Rule) -> Rule:
    def forward(params: Params, carry: RecurrentDropoutCarry, z_t):
        seen = _masked(carry.cell, carry.mask)
        (new, y_t), tape = inner.forward(params, seen, z_t)
        return (RecurrentDropoutCarry(new, carry.mask), y_t), (tape, carry.mask)

    def backward(params: Params, tape, carry_ct: RecurrentDropoutCarry, y_ct: Array, clip: Clip):
        # h̃ = m h_{t-1}:   ∂C/∂h_{t-1} = m ∂C/∂h̃; m is noise, a constant wherever it is used
        inner_tape, mask = tape
        ct, delta = inner.backward(params, inner_tape, carry_ct.cell, y_ct, clip)
        return RecurrentDropoutCarry(_masked(ct, mask), carry_ct.mask), delta

    def gradients(params: Params, xs: Array, tapes, deltas):
        return inner.gradients(params, xs, tapes[0], deltas)

    return Rule(inner.project, forward, backward, gradients)


def _masked(carry: Carry, mask: Array | None) -> Carry:
    return carry if mask is None else carry._replace(h=jax.lax.stop_gradient(mask) * carry.h)


def _scaled(keep: Array, rate: float, like: Array) -> Array:
    return keep.astype(like.dtype) / (1 - rate)


def _check_recurrent(carry: Carry) -> None:
    if isinstance(carry, GRUCarry | IdentityCarry) or not hasattr(carry, "h"):
        raise ValueError(
            f"recurrent_dropout masks a carry field h that is read only through W_h, and "
            f"{type(carry).__name__} does not have one: use zoneout or input_dropout here, and "
            "inside stack() wrap the single cells"
        )
