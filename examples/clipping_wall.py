"""Draw the wall in the loss of a one-unit net, and gradient descent with and without clipping.

    python examples/clipping_wall.py [--out FIGURE] [--short]

x_t = w σ(x_{t-1}) + b with x_0 = 0.5, and the loss (σ(x_50) - 0.7)²: after Pascanu, Mikolov &
Bengio (2013), On the difficulty of training recurrent neural networks, figure 6.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import rnnjax
from rnnjax.cells import VanillaParams
from rnnjax.experiments.report import write_surface

CELL = rnnjax.vanilla(1, "sigmoid")
W, B = (3.5, 7.0), (-3.7, -1.7)  # the part of the plane that is drawn
START, RATE, LIMIT = (5.5, -2.6), 0.5, 0.1


def loss(point, steps=50):
    """(h_50 - 0.7)² of a net without input, h_t = σ(w h_{t-1} + b)."""
    w, b = point
    params = VanillaParams(jnp.zeros((1, 1)), w.reshape(1, 1), b.reshape(1))
    carry = CELL.initial_carry(params, ())._replace(h=jax.nn.sigmoid(jnp.full(1, 0.5)))
    carry, _ = rnnjax.unroll(CELL, params, jnp.zeros((steps, 1)), carry=carry)
    return jnp.sum((carry.h - 0.7) ** 2)


def descend(optimizer, steps):
    """The points (w, b, loss) that an optimiser visits from START, `[steps + 1, 3]`."""

    def step(held, _):
        point, state = held
        value, grads = jax.value_and_grad(loss)(point)
        updates, state = optimizer.update(grads, state, point)
        return (optax.apply_updates(point, updates), state), jnp.stack([*point, value])

    start = tuple(jnp.asarray(START))
    return jax.lax.scan(step, (start, optimizer.init(start)), length=steps + 1)[1]


def main():
    """Compute the surface and two paths on it, and draw them."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--out", type=Path, default=Path("clipping_wall.png"), help="the figure")
    parser.add_argument("--short", action="store_true", help="a coarse surface, as a check")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)  # beside the wall, float32 sends paths elsewhere
    count = 12 if options.short else 240
    ws, bs = jnp.linspace(*W, count), jnp.linspace(*B, count)
    surface = jax.jit(jax.vmap(lambda w: jax.vmap(lambda b: loss((w, b)))(bs)))(ws)
    clip = optax.chain(optax.clip_by_global_norm(LIMIT), optax.sgd(RATE))
    paths = {"gradient descent": descend(optax.sgd(RATE), 100)}
    paths[f"the same, clipped to the norm {LIMIT}"] = descend(clip, 100)
    for name, points in paths.items():
        jump = jnp.linalg.norm(jnp.diff(points[:, :2], axis=0), axis=1).max()
        print(f"{name}: longest step {jump:.2f}, loss at the end {points[-1, 2]:.4f}")
    labels = ("Recurrent weight w", "Bias b", "Loss")
    written = write_surface(ws, bs, surface, options.out, paths=paths, labels=labels)
    print(f"the figure is in {written}")


if __name__ == "__main__":
    main()
