"""Draw the figures of docs/gradient_flow.md, of nets that forget, keep and explode.

    python examples/flow_figures.py [FIGURE …] [--out FOLDER] [--short]

Figures: norms, ratios, exponents, singular_values, sensitivity, truncation, clipped_steps,
precision; and of nets of their own: predictability.
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import optax

import rnnjax
from rnnjax import flow
from rnnjax.cells import initializers
from rnnjax.experiments import report
from rnnjax.gradients import clip_by_norm
from rnnjax.methods import solve


def last(carry, ys):
    """A cost of the last output alone."""
    return (ys[-1] ** 2).sum()


def norms(net):
    """One error on its way back."""
    return flow.gradient_norms(flow.record(*net, last, last=True), "h")


def ratios(net):
    """What each step back does to the norm of that error."""
    return flow.pascanu_ratios(*net, last)


def regularized(net, steps=200):
    """The net after some steps of Adam on Ω alone."""
    cell, params, xs = net
    adam = optax.adam(1e-3)

    def omega(params):
        return flow.pascanu_regularizer(cell, params, xs, last, derivative="full").mean()

    @jax.jit
    def step(params, state):
        updates, state = adam.update(jax.grad(omega)(params), state)
        return optax.apply_updates(params, updates), state

    state = adam.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return cell, params, xs


def exponents(net):
    """Of four examples: all exponents take long."""
    return flow.lyapunov_spectrum(*net[:2], net[2][:, :4])


def predictability(path, short=False):
    """λ_1 and the iterations of deer() by length: of tanh nets from convergence to chaos."""
    size, lengths = (4, [5, 10]) if short else (32, [10, 20, 50, 100, 200, 500])
    gains = [1.0] if short else [1.0, 1.2, 1.35, 1.5, 2.0]
    cell = rnnjax.vanilla(size, w_h_init=initializers.orthogonal())
    drawn = cell.init(jax.random.key(0), 8)
    xs = 0.5 * jax.random.normal(jax.random.key(1), (lengths[-1], 1, 8))
    found, iterations = {}, {}
    for gain in gains:
        name, params = f"gain {gain:g}", drawn._replace(w_h=gain * drawn.w_h)
        found[name] = [flow.predictability(cell, params, xs[:length]) for length in lengths]
        wide = jax.tree.map(jax.numpy.float64, (params, xs.repeat(len(lengths), axis=1)))
        method = rnnjax.deer(max_iterations=lengths[-1])
        solved = solve(cell, *wide, method, lengths=jax.numpy.array(lengths))
        iterations[name] = solved.iterations
        print(f"{name}: {found[name][-1]}\n  iterations {iterations[name]}")
    return report.write_predictability(found, path, iterations=iterations)


FIGURES = {  # name -> what is measured of (cell, params, xs), and what draws it
    "norms": (norms, report.write_norms),
    "ratios": (ratios, report.write_ratios),
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
    for figure in options.figures or [*FIGURES, "predictability"]:
        if figure == "predictability":
            with jax.enable_x64(True):
                written = predictability(options.out / f"{figure}.png", options.short)
            print(f"the figure is in {written}")
            continue
        measure, write = FIGURES[figure]
        shown = dict(list(nets.items())[: 1 if options.short else 3])
        if figure == "ratios" and not options.short:
            shown["tanh, trained on Ω"] = regularized(shown["tanh, orthogonal"])
        found = {name: measure(net) for name, net in shown.items()}
        for name, value in found.items():
            print(f"{name}\n{value}" if figure in ("truncation", "precision") else name)
        print(f"the figure is in {write(found, options.out / f'{figure}.png')}")


if __name__ == "__main__":
    main()
