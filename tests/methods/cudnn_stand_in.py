"""JAX's own reference in place of cuDNN's two calls, and problems to run by it.

The stand-in reads the same flat weights. Where cuDNN promises nothing, it answers NaN: past the
lengths, and everywhere if one of the lengths is not in 1..T.
"""

import jax
import jax.numpy as jnp
import numpy as np
from by_numpy import evaluated
from jax.experimental import rnn

import rnnjax
from rnnjax.methods._cudnn import Cudnn

T, B, D, H = 6, 4, 3, 5
RAGGED = jnp.array([T, 0, 1, 4])


def reference(xs, h_0, c_0, weights, lengths, sizes):
    shape = (sizes["input_size"], sizes["hidden_size"], sizes["num_layers"])
    assert weights.shape == (rnn.get_num_params_in_lstm(*shape, False),)
    assert sizes["dropout"] == 0.0
    assert not sizes["bidirectional"]
    unpacked = rnn.unpack_lstm_weights(weights, *shape, False)
    ys, h_T, c_T = rnn.lstm_ref(xs, h_0, c_0, *unpacked, lengths, *shape, 0.0, False)
    spoil = jnp.where(jnp.all((lengths > 0) & (lengths <= xs.shape[1])), 0.0, jnp.nan)
    return poisoned(ys, lengths) + spoil, h_T + spoil, c_T + spoil


def poisoned(xs, lengths):
    """[B, T, D] with NaN past the lengths."""
    valid = jnp.arange(xs.shape[1])[None] < lengths[:, None]
    return jnp.where(valid[..., None], xs, jnp.nan)


def unbatchable(call):
    """As JAX's own operations, which have no batching rule."""

    def refuse(*_):
        raise NotImplementedError("no batching rule")

    call = jax.custom_batching.custom_vmap(call)
    call.def_vmap(refuse)
    return call


def reference_fwd(*arrays, precision, **sizes):
    return unbatchable(lambda *a: (reference(*a, sizes), a))(*arrays)


def reference_bwd(*, residuals, gradients, precision, **sizes):
    @unbatchable
    def backward(residuals, gradients):
        *arrays, lengths = residuals
        dxs, *rest = jax.vjp(lambda *a: reference(*a, lengths, sizes), *arrays)[1](gradients)
        return poisoned(dxs, lengths), *rest

    return *backward(residuals, gradients), None


class StandIn(Cudnn):
    """`cudnn()` on any machine and in float64."""

    def refusal(self, *_):
        return None


def problem(cell, batch=(B,), steps=T, dtype=float):
    rng = np.random.default_rng(4)

    def drawn(leaf):
        return jnp.asarray(leaf + 0.4 * rng.standard_normal(leaf.shape), dtype)

    params = jax.tree.map(drawn, cell.init(jax.random.key(0), D))
    carry = jax.tree.map(drawn, cell.initial_carry(params, batch))
    return params, carry, jnp.asarray(rng.standard_normal((steps, *batch, D)), dtype)


def cost(carry, ys):
    leaves = jax.tree.leaves((carry, ys))
    return sum(
        jnp.sum(jnp.sin(leaf + jnp.arange(leaf.size).reshape(leaf.shape))) for leaf in leaves
    )


def value_and_gradients(cell, point, method, **options):
    def value(params, carry, xs):
        last, ys = rnnjax.unroll(cell, params, xs, carry=carry, method=method, **options)
        return cost(last, ys), (last, ys)

    return evaluated(jax.grad(value, (0, 1, 2), has_aux=True))(*point)


def assert_close(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def assert_same(method, cell, point, **options):
    got = value_and_gradients(cell, point, method, **options)
    assert_close(got, value_and_gradients(cell, point, rnnjax.sequential(), **options))
