"""Gradient flossing lets a tanh net learn a delayed copy that it does not learn without.

    python examples/flossing.py [--out FIGURE] [--short]

The net says at each step which bit it read 40 steps before. Before training, 500 steps of Adam
bring 75 of its 80 Lyapunov exponents to zero (Engelken 2023, Gradient flossing, NeurIPS).
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import rnnjax
from rnnjax.cells import VanillaParams, initializers
from rnnjax.experiments.report import write_exponents

DELAY, FLOSSER = 40, optax.adam(3e-3)
LEARNER = optax.chain(optax.clip_by_global_norm(0.03), optax.adam(1e-3))


def copying(params, bits):
    """The cross-entropy of the copied bits, and the accuracy in percent."""
    net, w, b = params
    _, ys = rnnjax.unroll(rnnjax.vanilla(len(w)), net, bits[..., None])
    logits, targets = (ys @ w + b)[DELAY:], bits[:-DELAY]
    right = (logits > 0) == (targets > 0.5)
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, targets)), 100 * jnp.mean(right)


def flossing(net, bits):
    """How far all but five Lyapunov exponents are from zero, past a transient."""
    cell, xs, k = rnnjax.vanilla(len(net.b)), bits[..., None], len(net.b) - 5
    return rnnjax.flow.flossing(cell, net, xs, k, burn_in=16), 0.0


@partial(jax.jit, static_argnums=(0, 1, 2))
def train(loss, optimizer, shape, params, keys):
    """Take a step a key on random bits `[T, B]`; also what the loss returns besides, by step."""

    def step(held, key):
        bits = jax.random.bernoulli(key, shape=shape).astype(jnp.float32)
        grads, aside = jax.grad(loss, has_aux=True)(held[0], bits)
        updates, state = optimizer.update(grads, held[1], held[0])
        return (optax.apply_updates(held[0], updates), state), aside

    (params, _), asides = jax.lax.scan(step, (params, optimizer.init(params)), keys)
    return params, asides


def learn(w_h_init, flossed, size, updates, seed):
    """Mean accuracies of 50 updates each, after steps of flossing, and the exponents before."""
    keys = jax.random.split(jax.random.key(seed), 5)
    w_x, w = jax.random.normal(keys[0], (2, 1, size))
    net = VanillaParams(w_x, w_h_init(keys[1], (size, size), w_x.dtype), jnp.zeros(size))
    net, _ = train(flossing, FLOSSER, (55, 1), net, jax.random.split(keys[2], flossed))
    xs = jax.random.bernoulli(keys[3], shape=(200, 1)).astype(jnp.float32)
    exponents = rnnjax.flow.lyapunov_spectrum(rnnjax.vanilla(size), net, xs, burn_in=50)
    params, keys = (net, w[0], jnp.zeros(())), jax.random.split(keys[4], updates)
    _, accuracies = train(copying, LEARNER, (DELAY + 60, 16), params, keys)
    return accuracies.reshape(-1, 50).mean(axis=1), exponents


def main():
    """Train all nets and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("flossing.png"), help="the figure")
    parser.add_argument("--short", action="store_true", help="tiny nets, as a check")
    options = parser.parse_args()
    size, flossed, updates, seeds = (8, 3, 100, 1) if options.short else (80, 500, 1000, 5)
    gaussian = initializers.normal(size**-0.5)
    nets = {"Gaussian": (gaussian, 0), "orthogonal": (initializers.orthogonal(), 0)}
    nets["Gaussian, flossed"] = (gaussian, flossed)
    curves, spectra = {}, {}
    for name, net in nets.items():
        found = [learn(*net, size, updates, seed) for seed in range(seeds)]
        accuracies, spectra[name] = map(jnp.stack, zip(*found, strict=True))
        curves[name] = (50 * jnp.arange(1, accuracies.shape[1] + 1), accuracies)
        print(f"{name}: accuracies {accuracies[:, -1].round(1)} % at the end", flush=True)
    print(f"the figure is in {write_exponents(spectra, options.out, curves=curves)}")


if __name__ == "__main__":
    main()
