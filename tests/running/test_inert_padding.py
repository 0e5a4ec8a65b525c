"""Padding is inert for what users write: functions without a derivative at zero."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import autodiff, bptt, scenarios, sequential, unroll

LENGTHS = jnp.array([5, 2, 0])


def unit(x):
    """x / ‖x‖, whose derivative at zero is NaN."""
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def on_unit_inputs(step):
    return lambda params, carry, x_t: step(params, carry, unit(x_t))


class Unit(nn.Module):
    """A module that normalizes what it reads, and multiplies it."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(unit(x))


def random(*shape):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape))


def assert_is_the_sum_of_the_sequences(cost, params, xs, lengths=LENGTHS):
    """The gradient of a batch with padding is the sum of those of its sequences without."""
    valid = np.arange(len(xs))[:, None, None] < np.asarray(lengths)[:, None]
    garbage = jnp.where(valid, xs, jnp.nan)
    got = jax.grad(cost)(params, garbage, lengths)
    want = jax.tree.map(jnp.zeros_like, params)
    for b, n in enumerate(lengths.tolist()):
        if n:
            one = jax.grad(cost)(params, xs[:n, b : b + 1], None)
            want = jax.tree.map(jnp.add, want, one)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)  # Flax's params are float32


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"gradient": rnnjax.truncated(2)}])
def test_a_step(options):
    cell = rnnjax.wrap(rnnjax.gru(4), on_unit_inputs)

    def cost(params, xs, lengths):
        return jnp.sum(unroll(cell, params, xs, lengths=lengths, **options)[1] ** 2)

    assert_is_the_sum_of_the_sequences(cost, cell.init(jax.random.key(0), 3), random(5, 3, 3))


def test_an_embedding_and_a_head():
    model = scenarios.many_to_many(rnnjax.gru(4), Unit(), embed=Unit())
    xs = random(5, 3, 3)

    def cost(params, xs, lengths):
        return jnp.sum(model.apply(params, xs, lengths=lengths)[1] ** 2)

    assert_is_the_sum_of_the_sequences(cost, model.init(jax.random.key(0), xs), xs)


def test_inputs_without_features():
    cell = rnnjax.gru(4)
    params = cell.init(jax.random.key(0), 1)
    params = params._replace(w_x=params.w_x[:0])
    ys = unroll(cell, params, jnp.zeros((5, 3, 0)), lengths=LENGTHS, method=sequential())[1]
    alone = unroll(cell, params, jnp.zeros((2, 1, 0)), method=sequential())[1]
    np.testing.assert_allclose(ys[:2, 1:2], alone, rtol=1e-12)
    assert not np.any(ys[2:, 1:])


def test_nothing_but_padding():
    cell = rnnjax.wrap(rnnjax.gru(4), on_unit_inputs)
    params = cell.init(jax.random.key(0), 3)
    xs, none = jnp.full((5, 3, 3), jnp.nan), jnp.zeros(3, int)
    grads = jax.grad(lambda p: jnp.sum(unroll(cell, p, xs, lengths=none)[1]))(params)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    "gradient", [autodiff(), rnnjax.checkpointed(7, autodiff()), rnnjax.truncated(7, autodiff())]
)
def test_weight_gradients_are_summed_in_float32(gradient):
    """In bfloat16 a sum of ones ends at 256."""

    def step(w, carry, x_t):
        return carry, w * x_t

    cell = rnnjax.Cell(lambda key, size: None, lambda w, batch, key=None: jnp.zeros(batch), step)
    w, xs = jnp.ones((), jnp.bfloat16), jnp.ones((1000, 1), jnp.bfloat16)
    grad = jax.grad(lambda w: unroll(cell, w, xs, gradient=gradient)[1].astype(float).sum())(w)
    assert grad.dtype == jnp.bfloat16
    assert float(grad) == 1000


def test_a_wrapped_cell_in_bfloat16_is_as_right_as_the_cell():
    cell = rnnjax.gru(8, dtype=jnp.bfloat16)
    wrapped = rnnjax.wrap(cell, lambda step: lambda *arguments: step(*arguments))
    params = cell.init(jax.random.key(0), 4)
    xs = random(300, 1, 4).astype(jnp.bfloat16)

    def gradient(cell, params, xs, **options):
        def cost(params):
            return jnp.sum(unroll(cell, params, xs, **options)[1].astype(jnp.float64))

        return jax.grad(cost)(params)

    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (params, xs))
    want = gradient(rnnjax.gru(8), *wide)
    by_rule = gradient(cell, params, xs, gradient=bptt(), method=sequential())
    leaves = map(jax.tree.leaves, (gradient(wrapped, params, xs), by_rule, want))
    for a, rule, exact in zip(*leaves, strict=True):
        scale = np.abs(exact).max()
        error = np.abs(np.asarray(a, float) - exact).max() / scale
        assert error < 2 * np.abs(np.asarray(rule, float) - exact).max() / scale + 0.01
