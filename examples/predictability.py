"""Draw when Newton's method over time pays: λ_1 and the iterations of deer(), by length.

    python examples/predictability.py [--out FIGURE] [--short]

Of tanh nets whose orthogonal W_h is multiplied by a gain, from convergence to chaos.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp

import rnnjax
from rnnjax import flow
from rnnjax.cells import initializers
from rnnjax.experiments.report import write_predictability
from rnnjax.methods import solve


def main():
    """Measure every net at several lengths, and solve for its states at each."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--out", type=Path, default=Path("predictability.png"), help="the figure")
    parser.add_argument("--short", action="store_true", help="one tiny net, as a check")
    options = parser.parse_args()
    size, lengths = (4, [5, 10]) if options.short else (32, [10, 20, 50, 100, 200, 500])
    gains = [1.0] if options.short else [1.0, 1.2, 1.35, 1.5, 2.0]
    cell = rnnjax.vanilla(size, w_h_init=initializers.orthogonal())
    drawn = cell.init(jax.random.key(0), 8)
    xs = 0.5 * jax.random.normal(jax.random.key(1), (lengths[-1], 1, 8))
    many = xs.repeat(len(lengths), axis=1)  # all lengths at once
    found, iterations = {}, {}
    for gain in gains:
        name, params = f"gain {gain:g}", drawn._replace(w_h=gain * drawn.w_h)
        found[name] = [flow.predictability(cell, params, xs[:length]) for length in lengths]
        method = rnnjax.deer(max_iterations=lengths[-1])
        solved = solve(cell, params, many, method=method, lengths=jnp.array(lengths))
        iterations[name] = solved.iterations
        print(f"{name}: {found[name][-1]}\n  iterations {iterations[name]}")
    print(f"the figure is in {write_predictability(found, options.out, iterations=iterations)}")


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
