"""Cells whose activations read clipped inputs: the attribute `clip` of ONNX's recurrent nodes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._calls import cached
from rnnjax._guard import guarded
from rnnjax._types import Array, Cell, Structure, known
from rnnjax.cells import ACTIVATIONS, GRUCarry, LSTMCarry, VanillaCarry
from rnnjax.cells.linear_algebra import add_bias, affine, joint_affine

Bound = Callable[[Array], Array]


@cached(guarded)
def clipped(cell: Cell, clip: float) -> Cell:
    """`cell` with the sum that each gate's activation reads kept within [-clip, clip].

        z -> min(max(z, -clip), clip),   then σ, tanh or φ

    As onnxruntime computes it: a gate's sum is clipped with its bias and its peephole in it, and
    c_t is not clipped before h_t = o ⊙ tanh(c_t). There is no rule: no kernel runs it, and its
    gradient is that of autodiff, which is zero through a gate beyond its bound.

    Args:
      cell: a `vanilla`, `lstm`, `peephole_lstm`, `cifg` or `gru` cell.
      clip: the bound, positive.

    Returns:
      A `Cell` with the params and the carry of `cell`.
    """
    structure = known(cell)
    name = structure.form[0] if isinstance(structure.form, tuple) else structure.form
    update = _UPDATES[name]  # pyright: ignore[reportArgumentType]

    def bound(z: Array) -> Array:
        return jnp.clip(z, -clip, clip)

    def step(params: Any, carry: Any, x_t: Array) -> tuple[Any, Array]:
        new = update(structure.form, bound, params, carry, x_t)
        return new, new.h

    kept = Structure(
        form=("clipped", structure.form, clip),
        through_weights=structure.through_weights,
        mixing=structure.mixing,
        output="h",
        params=structure.params,
    )
    return Cell(cell.init, cell.initial_carry, step, None, kept)


def _vanilla(form: Any, bound: Bound, params: Any, carry: VanillaCarry, x_t: Array) -> VanillaCarry:
    z = joint_affine(x_t, carry.h, params.w_x, params.w_h, params.b)
    return VanillaCarry(ACTIVATIONS[form[1]].apply(bound(z)))


def _lstm(form: Any, bound: Bound, params: Any, carry: LSTMCarry, x_t: Array) -> LSTMCarry:
    z = joint_affine(x_t, carry.h, params.w_x, params.w_h, params.b)
    if form == "cifg":
        z_i, z_g, z_o = jnp.split(z, 3, axis=-1)
        i = jax.nn.sigmoid(bound(z_i))
        f = 1 - i
        p_o = None
    else:
        z_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
        p_i, p_f, p_o = jnp.split(params.p, 3) if form == "peephole_lstm" else (None,) * 3
        i = jax.nn.sigmoid(bound(_seen(z_i, p_i, carry.c)))
        f = jax.nn.sigmoid(bound(_seen(z_f, p_f, carry.c)))
    c = f * carry.c + i * jnp.tanh(bound(z_g))
    o = jax.nn.sigmoid(bound(_seen(z_o, p_o, c)))
    return LSTMCarry(o * jnp.tanh(c), c)


def _seen(z: Array, p: Array | None, c: Array) -> Array:
    """z + p ⊙ c, where there are peepholes."""
    return z if p is None else z + p.reshape((1,) * (c.ndim - 1) + p.shape) * c


def _gru(form: Any, bound: Bound, params: Any, carry: GRUCarry, x_t: Array) -> GRUCarry:
    hidden = carry.h.shape[-1]
    z_rz, z_n = jnp.split(affine(x_t, params.w_x, params.b), [2 * hidden], axis=-1)
    w_rz, w_n = params.w_h[:, : 2 * hidden], params.w_h[:, 2 * hidden :]
    r, z = jnp.split(jax.nn.sigmoid(bound(z_rz + carry.h @ w_rz)), 2, axis=-1)
    if form == ("gru", "after"):
        recurrent = r * add_bias(carry.h @ w_n, params.b_hn)
    else:
        recurrent = (r * carry.h) @ w_n
    n = jnp.tanh(bound(z_n + recurrent))
    return GRUCarry((1 - z) * n + z * carry.h)


_UPDATES = {
    "vanilla": _vanilla,
    "lstm": _lstm,
    "peephole_lstm": _lstm,
    "cifg": _lstm,
    "gru": _gru,
}
