"""In bfloat16, gradients that many steps add to are summed in float32."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import rnnjax
from rnnjax import scenarios

LOW, STEPS = jnp.bfloat16, 1024  # a sum of ones in bfloat16 stops at 256
IDS, CELL = jnp.zeros((STEPS, 1), int), rnnjax.vanilla(1, "identity", dtype=LOW)


class Ones(nn.Module):
    """x -> x + b, whose bias gets a gradient of one from every entry."""

    features: int = 1

    @nn.compact
    def __call__(self, x):
        return x + self.param("b", nn.initializers.zeros, (self.features,), LOW).reshape(
            (1,) * (x.ndim - 1) + (-1,)
        )


class Row(nn.Module):
    """ids [...] -> the row of a table [1, 1]."""

    @nn.compact
    def __call__(self, ids):
        return self.param("row", nn.initializers.zeros, (1, 1), LOW)[ids]


def test_embeddings_and_heads():
    model = scenarios.many_to_many(CELL, scenarios.dropout(Ones(), 0.5), embed=Row())
    params = jax.eval_shape(model.init, jax.random.key(0), IDS)
    params = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), params)
    params = params._replace(layer=params.layer._replace(w_x=jnp.ones((1, 1), LOW)))  # h_t = x_t

    def total(params, key=None):
        outputs = model.apply(params, IDS, key=key)[1]
        return jnp.sum(outputs.astype(jnp.float32))

    found = jax.jit(jax.grad(total))(params)
    assert found.embed["params"]["row"] == STEPS
    assert found.head["params"]["b"] == STEPS
    ones = params._replace(embed={"params": {"row": jnp.ones((1, 1), LOW)}})
    kept = jax.jit(total)(ones, jax.random.key(1)) / 2  # kept inputs are doubled
    assert 0.4 < kept / STEPS < 0.6  # another mask for each step


@pytest.mark.parametrize("sampling", [0.0, 1.0])
def test_decoders(sampling):
    """The memory, too, which every step reads."""
    model = scenarios.encoder_decoder(
        None, CELL, Ones(2), embed=Row(), attention="dot", dropout=0.0
    )
    source = jnp.ones((1, 1, 1), LOW)
    params = jax.eval_shape(model.init, jax.random.key(0), source, IDS)
    params = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), params)

    def total(params, source):
        logits = model.apply(params, source, IDS, sampling=sampling, key=jax.random.key(0))
        return jnp.sum(logits.astype(jnp.float32))

    found, source_ct = jax.jit(jax.grad(total, argnums=(0, 1)))(params, source)
    assert found.head["params"]["b"].tolist() == [STEPS, STEPS]
    assert source_ct.item() == STEPS  # the context is beside y_t, and all else is zero


def test_closed_loop():
    def total(bias):
        def step(carry, x):
            return carry, 0 * x + bias

        return jnp.sum(scenarios.closed_loop(step, None, bias, STEPS)[1].astype(jnp.float32))

    assert jax.jit(jax.grad(total))(jnp.zeros((1, 1), LOW)) == STEPS
