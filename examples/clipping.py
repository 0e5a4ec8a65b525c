"""Compare ways of clipping the gradient of a net whose errors explode, example by example.

    python examples/clipping.py [--out FIGURE] [--short]

A tanh net beyond the edge of chaos reads 40 random numbers; each example has a gradient of its own.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import rnnjax
from rnnjax import bptt, flow
from rnnjax.cells import initializers
from rnnjax.experiments.report import write_clipping
from rnnjax.gradients import clip_by_norm, clip_by_value

CLIPS = {
    "by value": optax.clip(4.0),
    "by global norm": optax.clip_by_global_norm(60.0),
    "by leaf": optax.clip_by_block_rms(3.0),
    "adaptive (AGC)": optax.adaptive_grad_clip(4.0),
    "in the loop, by value": bptt(clip_by_value(1.0)),
    "in the loop, by norm": bptt(clip_by_norm(4.0)),
}


def main():
    """Measure every clip on every example, print the table and draw it."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--out", type=Path, default=Path("clipping.png"), help="the figure")
    parser.add_argument("--short", action="store_true", help="a few examples, as a check")
    options = parser.parse_args()
    count, steps = (6, 10) if options.short else (150, 40)
    cell = rnnjax.vanilla(32, w_h_init=initializers.orthogonal(1.25))
    params = cell.init(jax.random.key(0), 1)
    key_x, key_scale = jax.random.split(jax.random.key(1))
    scale = 10 ** jax.random.uniform(key_scale, (count, 1, 1), minval=-2.0, maxval=0.5)
    xs = scale * jax.random.normal(key_x, (count, steps, 1))

    def loss(params, xs, gradient):
        _, ys = rnnjax.unroll(cell, params, xs, gradient=gradient)
        return jnp.sum(ys[-1] ** 2)

    found = flow.clipping(loss, params, xs, CLIPS)
    print(found)
    print(f"the figure is in {write_clipping(found, options.out)}")


if __name__ == "__main__":
    main()
