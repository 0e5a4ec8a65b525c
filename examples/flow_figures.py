"""Draw the figures of docs/gradient_flow.md, of nets that forget, keep and explode.

    python examples/flow_figures.py [FIGURE …] [--out FOLDER] [--short]

Figures: norms, exponents, singular_values, sensitivity, truncation, clipped_steps, precision.
"""

import argparse
from functools import partial
from pathlib import Path

import jax

import rnnjax
from rnnjax import flow
from rnnjax.cells import initializers
from rnnjax.experiments import report
from rnnjax.gradients import clip_by_norm


def last(carry, ys):
    """A cost of the last output alone."""
    return (ys[-1] ** 2).sum()


def norms(net):
    """One error on its way back."""
    return flow.gradient_norms(flow.record(*net, last, last=True), "h")


def exponents(net):
    """Of four examples: all exponents take long."""
    return flow.lyapunov_spectrum(*net[:2], net[2][:, :4])


FIGURES = {  # name -> what is measured of (cell, params, xs), and what draws it
    "norms": (norms, report.write_norms),
    "exponents": (exponents, partial(report.write_exponents, over="sequences")),
    "singular_values": (
        lambda net: flow.log_singular_values(flow.jacobians(*net)[:, 0]),
        report.write_singular_values,
    ),
    "sensitivity": (lambda net: flow.sensitivity(*net), report.write_sensitivity),
    "truncation": (
        lambda net: flow.truncation_length(
            *net, lambda carry, ys: (ys**2).sum(), bias=0.1, lags=len(net[2]) // 2
        ),
        report.write_truncation,
    ),
    "clipped_steps": (
        lambda net: flow.clipped_steps(*net, last, clip_by_norm(10.0)),
        report.write_clipped_steps,
    ),
    "precision": (
        lambda net: flow.precision(*net, last, dtypes=["bfloat16", "float32"]),
        report.write_precision,
    ),
}


def main():
    """Draw the figures that are named, or all."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help="all if none")
    parser.add_argument("--out", type=Path, default=Path("."), metavar="FOLDER")
    parser.add_argument("--short", action="store_true", help="one tiny net, as a check")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    size, steps = (8, 10) if options.short else (64, 100)
    xs = 0.5 * jax.random.normal(jax.random.key(1), (steps, 16, 8))
    tanh = {gain: rnnjax.vanilla(size, w_h_init=initializers.orthogonal(gain)) for gain in (1, 1.5)}
    cells = {"LSTM": rnnjax.lstm(size), "tanh, orthogonal": tanh[1], "tanh, chaotic": tanh[1.5]}
    nets = {name: (cell, cell.init(jax.random.key(0), 8), xs) for name, cell in cells.items()}
    for figure in options.figures or FIGURES:
        measure, write = FIGURES[figure]
        found = {
            name: measure(net) for name, net in list(nets.items())[: 1 if options.short else 3]
        }
        for name, value in found.items():
            print(f"{name}\n{value}" if figure in ("truncation", "precision") else name)
        print(f"the figure is in {write(found, options.out / f'{figure}.png')}")


if __name__ == "__main__":
    main()
