"""Parity from scratch: does a network trained on up to 20 bits generalize to 1,000?

    python examples/parity.py [--cell lstm] [--short]

A cell, a head, a loss, optax, and a training loop that is one `lax.scan`. `rnnjax train parity`
does the same with checkpoints, logs and options.
"""

import argparse
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rnnjax import scenarios
from rnnjax.experiments.tasks import CELLS

BATCH, LONGEST = 64, 20


def draw(key, length, batch):
    """Random bits as -1 and 1, [T, B, 1], and their running parity, [T, B]."""
    bits = jax.random.bernoulli(key, 0.5, (length, batch))
    return (2.0 * bits - 1.0)[..., None], jnp.cumsum(bits, axis=0) % 2


def cost(model, params, key):
    """Mean cross-entropy over all steps of strings of 1 to 20 bits."""
    key_bits, key_lengths = jax.random.split(key)
    xs, odd = draw(key_bits, LONGEST, BATCH)
    lengths = jax.random.randint(key_lengths, (BATCH,), 1, LONGEST + 1)
    _, logits = model.apply(params, xs, lengths=lengths)
    return scenarios.cross_entropy(logits, odd, scenarios.valid_steps(lengths, LONGEST))


@partial(jax.jit, static_argnums=(0, 1))
def accuracy(model, length, params, key):
    """Fraction of strings whose final parity is predicted correctly."""
    xs, odd = draw(key, length, 200)
    _, logits = model.apply(params, xs)
    return jnp.mean(jnp.argmax(logits[-1], axis=-1) == odd[-1])


def main():
    """Train, and test on strings of increasing length."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--cell", choices=list(CELLS), default="lstm")
    parser.add_argument("--short", action="store_true", help="a few steps, as a check")
    options = parser.parse_args()
    steps, hidden = (400, 16) if options.short else (3000, 32)

    model = scenarios.many_to_many(CELLS[options.cell](hidden), nn.Dense(2))
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(1e-2, steps))
    )

    def step(state, key):
        params, moments = state
        value, grads = jax.value_and_grad(partial(cost, model))(params, key)
        updates, moments = optimizer.update(grads, moments)
        return (optax.apply_updates(params, updates), moments), value

    key_init, key_train, key_test = jax.random.split(jax.random.key(0), 3)
    params = model.init(key_init, jnp.zeros((1, 1, 1)))
    start = params, optimizer.init(params)
    (params, _), costs = jax.jit(partial(jax.lax.scan, step))(
        start, jax.random.split(key_train, steps)
    )
    print(f"cost: {costs[0]:.4f} nats at the start, {costs[-1]:.4f} after {steps} steps")
    for length in (20, 100, 1000):
        correct = accuracy(model, length, params, key_test)
        print(f"accuracy on {length} bits: {correct:.1%} (chance: 50%)")


if __name__ == "__main__":
    main()
