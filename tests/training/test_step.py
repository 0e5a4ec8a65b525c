import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnnjax
from rnnjax.training import classifier, cross_entropy, start_training, train_step

T, B, D, H, K = 6, 5, 2, 4, 3
NET = classifier(rnnjax.gru(H), K)
XS = jnp.asarray(np.random.default_rng(0).normal(size=(T, B, D)))
LABELS = jnp.array([0, 2, 1, 1, 0])


def cost(params, batch):
    xs, labels = batch
    return jnp.mean(cross_entropy(NET.logits(params, xs), labels))


def loss(params, carry, batch, key):
    return cost(params, batch), (carry, {})


def test_logits_are_a_dense_layer_on_the_last_output():
    params = NET.init(jax.random.key(0), D)
    carry, _ = rnnjax.unroll(rnnjax.gru(H), params.cell, XS)
    dense = params.head["params"]
    by_hand = np.asarray(carry.h) @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
    np.testing.assert_allclose(NET.logits(params, XS), by_hand, rtol=1e-12)


def test_cross_entropy_is_minus_log_probability():
    logits = np.array([[1.0, 2.0, 0.5]])
    expected = -(2.0 - np.log(np.exp(logits).sum()))
    np.testing.assert_allclose(cross_entropy(jnp.asarray(logits), jnp.array([1])), [expected])


def test_one_step_is_the_optimisers_by_hand():
    params = NET.init(jax.random.key(0), D)
    limit, rate = 0.1, 0.5
    optimizer = optax.chain(optax.clip_by_global_norm(limit), optax.sgd(rate))
    state = start_training(params, optimizer)
    new, metrics = jax.jit(train_step(loss, optimizer))(state, (XS, LABELS))
    value, grads = jax.value_and_grad(cost)(params, (XS, LABELS))
    norm = np.sqrt(sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(grads)))
    assert norm > limit
    np.testing.assert_allclose(metrics.cost, value, rtol=1e-12)
    np.testing.assert_allclose(metrics.gradient_norm, norm, rtol=1e-12)
    for after, before, grad in zip(*map(jax.tree.leaves, (new.params, params, grads)), strict=True):
        np.testing.assert_allclose(after, before - rate * limit / norm * grad, rtol=1e-10)
    assert int(new.step) == 1


def test_cost_falls_on_a_fixed_batch():
    optimizer = optax.adam(0.05)
    state = start_training(NET.init(jax.random.key(1), D), optimizer)
    step = train_step(loss, optimizer)
    batch = (XS, LABELS)
    _, costs = jax.lax.scan(
        lambda state, _: (lambda new, metrics: (new, metrics.cost))(*step(state, batch)),
        state,
        None,
        length=60,
    )
    assert float(costs[-1]) < 0.1 * float(costs[0])
