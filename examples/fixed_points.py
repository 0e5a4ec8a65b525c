"""Find and draw the memories of a net: the fixed points of three coupled flip-flops.

    python examples/fixed_points.py [--out FIGURE] [--short]

Each unit keeps the sign of its last pulse, so eight states are stable, one for each three bits.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp

import rnnjax
from rnnjax.experiments.report import write_fixed_points


def net():
    """A vanilla cell, h = tanh(1.5 x + h W), whose units excite themselves and hardly others."""
    coupling = 0.1 * jax.random.normal(jax.random.key(0), (3, 3))
    w_h = 2 * jnp.eye(3) + coupling
    return rnnjax.vanilla(3), rnnjax.cells.VanillaParams(1.5 * jnp.eye(3), w_h, jnp.zeros(3))


def main():
    """Run the net on random pulses, search from the states it visits, and draw what is found."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--out", type=Path, default=Path("fixed_points.png"), help="the figure")
    parser.add_argument("--short", action="store_true", help="a few steps, as a check")
    options = parser.parse_args()
    cell, params = net()
    shape = (60 if options.short else 120, 8, 3)
    when, sign, noise = jax.random.split(jax.random.key(1), 3)
    pulses = jax.random.bernoulli(when, 0.06, shape) * jax.random.rademacher(sign, shape)
    carries, _ = rnnjax.unroll(cell, params, pulses.astype(float), return_carries=True)
    visited = carries.h.reshape(-1, 3)
    starts = carries._replace(h=visited + 0.3 * jax.random.normal(noise, visited.shape))
    found = rnnjax.flow.fixed_points(cell, params, jnp.zeros(3), starts)
    print(f"fixed points: {(found.labels == 'fixed').sum()}, of them stable: {found.stable.sum()}")
    print(f"the figure is in {write_fixed_points(found, options.out, trajectories=carries)}")


if __name__ == "__main__":
    main()
