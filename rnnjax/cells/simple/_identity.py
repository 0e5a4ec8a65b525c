"""The identity cell: a recurrence whose error neither vanishes nor explodes."""

from typing import NamedTuple

import jax.numpy as jnp

from rnnjax._checks import check_positive_int
from rnnjax._types import Array, Cell, Clip, Inputs, Linear, Rule, Structure
from rnnjax.cells._build import DType, draw, factory, float_dtype
from rnnjax.cells.initializers import Initializer, glorot
from rnnjax.cells.linear_algebra import affine, sum_outer

__all__ = ["IdentityCarry", "IdentityParams", "identity_rnn"]


class IdentityParams(NamedTuple):
    w_x: Array  # [D, H]


class IdentityCarry(NamedTuple):
    h: Array  # [..., H] hidden state


@factory
def identity_rnn(
    hidden: int, *, w_x_init: Initializer | None = None, dtype: DType | None = None
) -> Cell:
    """The identity recurrence, the constant error carousel with nothing around it.

        h_t = h_{t-1} + x_t W_x
        y_t = h_t

    ∂h_t/∂h_{t-1} = I exactly, so ∂C/∂h_k is the same at every k that the cost is later than.

    Args:
      hidden: H, the number of hidden units.
      w_x_init: initialiser of W_x; Glorot uniform by default.
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` with `IdentityParams`, `IdentityCarry(h [..., H])` and a hand-derived rule, which
      saves nothing at all for the backward pass.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.identity_rnn(3)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))
      >>> ys.shape
      (5, 3)

    References:
      Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9, section 3.
    """
    check_positive_int("hidden", hidden)
    w_x_init = w_x_init or glorot()

    def init(key: Array, inputs: Inputs) -> IdentityParams:
        shape = (check_positive_int("input_size", inputs), hidden)
        return IdentityParams(draw("w_x_init", w_x_init, key, shape, float_dtype(dtype)))

    def initial_carry(
        params: IdentityParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> IdentityCarry:
        del key
        return IdentityCarry(jnp.zeros((*batch_shape, hidden), params.w_x.dtype))

    shapes = IdentityParams._make((("D", hidden),))
    structure = Structure(
        params=shapes,
        form="identity",
        linear=Linear(_coefficients, _readout),
        mixing=(),
        output="h",
    )
    return Cell(
        init, initial_carry, _step, Rule(_project, _forward, _backward, _gradients), structure
    )


def _project(params: IdentityParams, xs: Array) -> Array:
    return affine(xs, params.w_x)


def _forward(params: IdentityParams, carry: IdentityCarry, z_t: Array):
    del params
    h = carry.h + z_t
    return (IdentityCarry(h), h), ()


def _step(params: IdentityParams, carry: IdentityCarry, x_t: Array):
    return _forward(params, carry, _project(params, x_t))[0]


def _coefficients(params: IdentityParams, xs: Array) -> tuple[IdentityCarry, IdentityCarry]:
    b = _project(params, xs)
    return IdentityCarry(jnp.ones_like(b)), IdentityCarry(b)


def _readout(params: IdentityParams, carry: IdentityCarry, xs: Array) -> Array:
    del params, xs
    return carry.h


def _backward(
    params: IdentityParams, tape: tuple[()], carry_ct: IdentityCarry, y_ct: Array, clip: Clip
):
    # Both paths into h_t have derivative I:  ∂C/∂h_{t-1} = δ_t = ∂C/∂h_t|_{t+1} + ∂C/∂y_t.
    # The clip acts on what reaches the weights; there is no recurrent product to protect.
    del params, tape
    dh = carry_ct.h + y_ct
    return IdentityCarry(dh), clip(dh)


def _gradients(params: IdentityParams, xs: Array, tapes: tuple[()], deltas: Array):
    del tapes
    return IdentityParams(sum_outer(xs, deltas)), deltas @ params.w_x.T
