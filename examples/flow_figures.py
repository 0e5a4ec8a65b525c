"""Draw the figures of docs/gradient_flow.md.

    python examples/flow_figures.py [FIGURE …] [--out FOLDER] [--short]

Figures: precision.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp

import rnnjax
from rnnjax import flow
from rnnjax.cells import initializers
from rnnjax.experiments import report


def last(carry, ys):
    """A cost of the last output alone."""
    return jnp.sum(ys[-1] ** 2)


def precision(path, short):
    """Digits of the gradient in bfloat16 and float32, of nets that forget, keep and explode."""
    size, steps = (8, 10) if short else (64, 100)
    orthogonal = initializers.orthogonal
    cells = {
        "LSTM": rnnjax.lstm(size),
        "tanh, orthogonal": rnnjax.vanilla(size, w_h_init=orthogonal()),
        "tanh, chaotic": rnnjax.vanilla(size, w_h_init=orthogonal(1.5)),
    }
    xs = 0.5 * jax.random.normal(jax.random.key(1), (steps, 16, 8))
    found = {}
    for name, cell in list(cells.items())[: 1 if short else 3]:
        params = cell.init(jax.random.key(0), 8)
        found[name] = flow.precision(cell, params, xs, last, dtypes=["bfloat16", "float32"])
        print(f"{name}\n{found[name]}")
    return report.write_precision(found, path)


FIGURES = {"precision": precision}


def main():
    """Draw the figures that are named, or all."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help="all if none")
    parser.add_argument("--out", type=Path, default=Path("."), metavar="FOLDER")
    parser.add_argument("--short", action="store_true", help="tiny nets, as a check")
    options = parser.parse_args()
    for name in options.figures or FIGURES:
        if name not in FIGURES:
            parser.error(f"no figure {name!r}: there are {', '.join(FIGURES)}")
        written = FIGURES[name](options.out / f"{name}.png", options.short)
        print(f"the figure is in {written}")


if __name__ == "__main__":
    main()
