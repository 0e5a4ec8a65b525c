"""Train a net on Ω alone, and draw what each step back does to the norm of its errors.

    python examples/regularizer.py [--out FIGURE] [--short]

Ω of Pascanu et al. is zero where every step back keeps the norm of the error. Before, it shrinks.
"""

import argparse
from pathlib import Path

import jax
import optax

import rnnjax
from rnnjax import flow
from rnnjax.cells import initializers
from rnnjax.experiments.report import write_ratios


def last(carry, ys):
    """A cost of the last output alone."""
    return (ys[-1] ** 2).sum()


def regularized(cell, params, xs, steps):
    """The params after some steps of Adam on Ω."""
    adam = optax.adam(1e-3)

    def omega(params):
        return flow.pascanu_regularizer(cell, params, xs, last, derivative="full").mean()

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(omega)(params)
        updates, state = adam.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    state, values = adam.init(params), []
    for _ in range(steps):
        params, state, value = step(params, state)
        values.append(float(value))
    print(f"Ω fell from {values[0]:.3g} to {values[-1]:.3g}")
    return params


def main():
    """Measure three nets as they begin, and the orthogonal one after training on Ω."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--out", type=Path, default=Path("ratios.png"), help="the figure")
    parser.add_argument("--short", action="store_true", help="a tiny net, as a check")
    options = parser.parse_args()
    size, steps, training = (8, 10, 20) if options.short else (64, 100, 200)
    tanh = {gain: rnnjax.vanilla(size, w_h_init=initializers.orthogonal(gain)) for gain in (1, 1.5)}
    cells = {"tanh, orthogonal": tanh[1]}
    if not options.short:
        cells = {"LSTM": rnnjax.lstm(size), **cells, "tanh, chaotic": tanh[1.5]}
    xs = 0.5 * jax.random.normal(jax.random.key(1), (steps, 16, 8))
    nets = {name: (cell, cell.init(jax.random.key(0), 8)) for name, cell in cells.items()}
    trained = regularized(*nets["tanh, orthogonal"], xs, training)
    nets["tanh, trained on Ω"] = (tanh[1], trained)
    ratios = {name: flow.pascanu_ratios(*net, xs, last) for name, net in nets.items()}
    print(f"the figure is in {write_ratios(ratios, options.out)}")


if __name__ == "__main__":
    main()
