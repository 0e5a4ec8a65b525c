"""A cell of your own, with a hand-derived rule: copy this file and change what says TODO.

The minimal gated unit (Zhou et al. 2016) stands in for yours. `python my_cell.py` checks its rule.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

import rnnjax


class MyParams(NamedTuple):  # TODO: your weights, as [in, gates * hidden]
    w_x: jax.Array  # [D, 2H]  f, n
    w_h: jax.Array  # [H, 2H]
    b: jax.Array  # [2H]


class MyCarry(NamedTuple):  # TODO: what the next step needs, and nothing else
    h: jax.Array  # [..., H]


class MyTape(NamedTuple):  # TODO: what the backward pass of one step needs
    f: jax.Array  # [..., H]
    n: jax.Array  # [..., H]
    h_tm1: jax.Array  # [..., H]


@rnnjax.factory  # equal calls give one cell, which prints as its call and compiles once
def my_cell(hidden: int) -> rnnjax.Cell:
    """The minimal gated unit.  TODO: your equations.

    f = σ(x_t W_xf + h_{t-1} W_hf + b_f)
    n = tanh(x_t W_xn + (f ⊙ h_{t-1}) W_hn + b_n)
    h_t = (1 - f) ⊙ h_{t-1} + f ⊙ n
    y_t = h_t
    """

    def init(key, input_size):  # TODO
        key_x, key_h = jax.random.split(key)
        w_x = rnnjax.initializers.glorot()(key_x, (input_size, 2 * hidden), float)
        w_h = rnnjax.initializers.glorot()(key_h, (hidden, 2 * hidden), float)
        return MyParams(w_x, w_h, jnp.zeros(2 * hidden, w_x.dtype))

    def initial_carry(params, batch_shape=(), key=None):  # TODO
        return MyCarry(jnp.zeros((*batch_shape, hidden), params.w_h.dtype))

    def step(params, carry, x_t):
        return forward(params, carry, project(params, x_t))[0]

    structure = rnnjax.Structure(
        output="h",  # TODO: the carry's field that y_t is, or None
        # TODO: the shapes of your params, "D" where the inputs decide; or leave it out
        params=MyParams(("D", 2 * hidden), (hidden, 2 * hidden), (2 * hidden,)),
    )
    # TODO: rule=None until you have one: gradients then come from autodiff
    rule = rnnjax.Rule(project, forward, backward, gradients)
    return rnnjax.Cell(init, initial_carry, step, rule, structure)


def project(params, xs):
    """All that need not wait for the carry: one product over the whole sequence."""
    return xs @ params.w_x + params.b  # TODO


def forward(params, carry, z_t):
    """The rest of the step, and what it saves."""
    # TODO
    z_f, z_n = jnp.split(z_t, 2, axis=-1)
    w_f, w_n = jnp.split(params.w_h, 2, axis=-1)
    f = jax.nn.sigmoid(z_f + carry.h @ w_f)
    n = jnp.tanh(z_n + (f * carry.h) @ w_n)
    h = (1 - f) * carry.h + f * n
    return (MyCarry(h), h), MyTape(f, n, carry.h)


def backward(params, tape, carry_ct, y_ct, clip):
    """One step back in time: from ∂C/∂h_t to ∂C/∂h_{t-1}, and δ_t = ∂C/∂z_t."""
    # TODO
    # dh = ∂C/∂h_t;   δ_n = dh f (1 - n²);   dq = δ_n W_hnᵀ with q = f h_{t-1}
    # δ_f = (dh (n - h_{t-1}) + dq h_{t-1}) f (1 - f)
    # ∂C/∂h_{t-1} = dh (1 - f) + dq f + δ_f W_hfᵀ
    w_f, w_n = jnp.split(params.w_h, 2, axis=-1)
    dh = carry_ct.h + y_ct
    delta_n = clip(dh * tape.f * (1 - tape.n**2))
    dq = delta_n @ w_n.T
    df = dh * (tape.n - tape.h_tm1) + dq * tape.h_tm1
    delta_f = clip(df * tape.f * (1 - tape.f))
    h_ct = dh * (1 - tape.f) + dq * tape.f + delta_f @ w_f.T
    return MyCarry(h_ct), jnp.concatenate([delta_f, delta_n], axis=-1)


def gradients(params, xs, tapes, deltas):
    """The weights' gradients and ∂C/∂xs: once, after the loop, over all of time and batch."""
    # TODO
    sum_outer, sum_bias = rnnjax.linear_algebra.sum_outer, rnnjax.linear_algebra.sum_bias
    delta_f, delta_n = jnp.split(deltas, 2, axis=-1)
    w_f = sum_outer(tapes.h_tm1, delta_f)
    w_n = sum_outer(tapes.f * tapes.h_tm1, delta_n)
    w_h = jnp.concatenate([w_f, w_n], axis=-1)
    return MyParams(sum_outer(xs, deltas), w_h, sum_bias(deltas)), deltas @ params.w_x.T


if __name__ == "__main__":
    print(rnnjax.gradients.check(my_cell(4)))
