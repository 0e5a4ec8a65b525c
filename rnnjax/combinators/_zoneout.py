"""Zoneout: units keep their previous state at random."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_cell, check_rate
from rnnjax._fields import field, fields_of, output_leaf, with_fields
from rnnjax._random import keep_mask, next_keys
from rnnjax._types import Array, Carry, Cell, Clip, Params, PyTree, Rule, Structure, known
from rnnjax.combinators._inner import combinator, start_random
from rnnjax.combinators._residual import residual


class ZoneoutCarry(NamedTuple):
    cell: Carry
    keys: Array | None  # [...] PRNG keys, one an example; None in evaluation


@combinator
def zoneout(cell: Cell, **rates: float) -> Cell:
    """Let units keep their previous state at random, instead of dropping them.

        m ~ Bernoulli(rate of s)
        s_t = m ⊙ s_{t-1} + (1 - m) ⊙ s'_t        for each field s of the carry
        y_t = the field of the carry that the cell's output is (h_t)

    where s'_t is what the cell itself computes. Without a key, m is its mean: the expected
    update, for evaluation. The error flows back through the kept units unchanged.

    Args:
      cell: a cell whose output is a field of its carry, which it says in `structure.output`; or
        `residual` around one, whose skip connection then stays outside.
      rates: the probability of keeping, in [0, 1), by the name of the carry's field; fields not
        named are always updated. The paper's choice for language is `h=0.05, c=0.5`.

    Returns:
      A `Cell` with the same params and a `ZoneoutCarry`.

    Raises:
      TypeError: `cell` is not a `Cell`.
      ValueError: a rate outside [0, 1), no rates, a cell whose output is no field of its carry, or
        (when the carry is made) unknown fields.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.zoneout(rnnjax.lstm(4), h=0.05, c=0.5)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> xs = jax.numpy.ones((5, 2))
      >>> rnnjax.unroll(cell, params, xs, key=jax.random.key(1))[1].shape
      (5, 4)

    References:
      Krueger et al. (2017), Zoneout: regularizing RNNs by randomly preserving hidden
      activations, ICLR.
    """
    if not rates:
        raise ValueError("zoneout needs a rate by carry field, such as zoneout(lstm(8), h=0.1)")
    for name, rate in rates.items():
        check_rate(name, rate)
    inner = known(check_cell(cell))
    if inner.skips is not None:
        return residual(zoneout(inner.skips, **rates))
    output = inner.output
    if output is None:
        raise ValueError(
            f"zoneout gives y_t = h_t, and {cell!r} does not say that its output is a field of "
            "its carry: inside stack() and wrap() apply zoneout to the single cells. A cell of "
            "yours says so with Structure(output='h')"
        )

    def initial_carry(
        params: Params, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> ZoneoutCarry:
        carry, keys = start_random(cell, params, batch_shape, key)
        _check_fields(carry, rates)
        output_leaf(carry, output)
        return ZoneoutCarry(carry, keys)

    def masks(carry: ZoneoutCarry) -> tuple[Array | None, dict[str, Any]]:
        """The keys to carry on, and m [..., H] by field; the mean of m in evaluation."""
        if carry.keys is None:
            means = rates.items()
            return None, {f: jnp.asarray(r, field(carry.cell, f).dtype) for f, r in means}
        keys, drawn = carry.keys, {}
        for name, rate in rates.items():
            keys, now = next_keys(keys)
            state = field(carry.cell, name)
            kept = ~keep_mask(now, rate, state.shape[now.ndim :])
            drawn[name] = kept.astype(state.dtype)
        return keys, drawn

    def step(params: Params, carry: ZoneoutCarry, x_t: PyTree):
        keys, m = masks(carry)
        new, _ = cell.step(params, carry.cell, x_t)
        new = _mix(m, carry.cell, new)
        return ZoneoutCarry(new, keys), field(new, output)

    rule = None if cell.rule is None else _zoneout_rule(cell.rule, masks, output)
    structure = Structure(feature_axes=inner.feature_axes, params=inner.params)
    return Cell(cell.init, initial_carry, step, rule, structure)


def _mix(m: dict[str, Array], old: Carry, new: Carry) -> Carry:
    return with_fields(new, {f: m[f] * field(old, f) + (1 - m[f]) * field(new, f) for f in m})


def _zoneout_rule(inner: Rule, masks, output: str) -> Rule:
    def forward(params: Params, carry: ZoneoutCarry, z_t: PyTree):
        keys, m = masks(carry)
        (new, _), tape = inner.forward(params, carry.cell, z_t)
        new = _mix(m, carry.cell, new)
        return (ZoneoutCarry(new, keys), field(new, output)), (tape, m)

    def backward(params: Params, tape, carry_ct: ZoneoutCarry, y_ct: Array, clip: Clip):
        # s_t = m s_{t-1} + (1 - m) s'_t:   ∂C/∂s'_t = (1 - m) ∂C/∂s_t, and m ∂C/∂s_t goes straight
        # to s_{t-1}. The cell's own y'_t is replaced by h_t, so ∂C/∂y_t is added to ∂C/∂h_t.
        inner_tape, m = tape
        ct = with_fields(carry_ct.cell, {output: field(carry_ct.cell, output) + y_ct})
        updated = with_fields(ct, {f: (1 - m[f]) * field(ct, f) for f in m})
        old_ct, delta = inner.backward(
            params, inner_tape, updated, jax.tree.map(jnp.zeros_like, y_ct), clip
        )
        kept = {f: field(old_ct, f) + m[f] * field(ct, f) for f in m}
        return ZoneoutCarry(with_fields(old_ct, kept), None), delta

    def gradients(params: Params, xs: Array, tapes, deltas: PyTree):
        return inner.gradients(params, xs, tapes[0], deltas)

    return Rule(inner.project, forward, backward, gradients)


def _check_fields(carry: Carry, rates: dict[str, float]) -> None:
    fields = fields_of(carry)
    unknown = [name for name in rates if name not in fields]
    if unknown:
        raise ValueError(
            f"zoneout has rates for {', '.join(unknown)}, but the fields of the carry, a "
            f"{type(carry).__name__}, are {', '.join(fields) or 'none: it has no names'}"
        )
