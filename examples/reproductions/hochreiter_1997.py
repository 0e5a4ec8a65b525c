"""Hochreiter & Schmidhuber (1997), experiment 4: the adding problem with 100 steps.

    python examples/reproductions/hochreiter_1997.py

Four memory cells of the LSTM without a forget gate, the truncated gradient, one update after every
sequence at a rate of 0.5, and the paper's stopping rule: the last 2,000 sequences all processed
correctly, with an error below 0.04. Then 2,560 new sequences are tested. At full size.
"""

import statistics
from functools import partial
from pathlib import Path
from typing import Any

from runs import Paper, Run, main, markdown

RATE, CELLS, TOLERANCE, IN_A_ROW = 0.5, 4, 0.04, 2000
PUBLISHED = 1, 74_000  # table 7: wrong of 2,560, and sequences, means of ten trials


def runs(seeds: int, short: bool) -> list[Run]:
    """The trials: ten in the paper."""
    return [{"trial": trial} for trial in range(2 if short else max(seeds, 10))]


def train(run: Run, seconds: float, short: bool) -> Run:
    """Online gradient descent until 2,000 sequences in a row are right, and the test."""
    import time

    import jax
    import jax.numpy as jnp

    from rnnjax.tasks import adding

    begun, length, every = time.monotonic(), 20 if short else 100, 2 if short else 1000
    options = {"length": length, "variant": "hochreiter_1997", "test_size": 16 if short else 2560}
    task = adding(cell=cell, hidden=CELLS, batch_size=1, **options)
    several = jax.jit(partial(learn, task.batches(run["trial"]), every))
    params, right, curve, done = start(jax.random.key(run["trial"])), 0, [], None
    for first in range(0, 4 if short else 2_000_000, every):
        params, errors = several(params, first)
        wrong = [k for k, error in enumerate(errors.tolist()) if not error < TOLERANCE]
        right = right + every if not wrong else every - 1 - wrong[-1]
        curve.append([first + every, float(jnp.mean(errors**2)), len(wrong) / every])
        if right >= IN_A_ROW:
            done = first + every
        if done is not None or time.monotonic() - begun > seconds:
            break
    (test,) = tests(task, run["trial"], options)
    found = jnp.abs(jax.jit(answers)(params, test) - test.targets[:, 0])
    return {
        "curve": curve,
        "wrong": int(jnp.sum(~(found < TOLERANCE))),
        "mse": float(jnp.mean(found**2)),
        "weights": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "solved_at": done,
        "seconds": round(time.monotonic() - begun, 1),
    }


def answers(params: Any, batch: Any) -> Any:
    """σ(w h_T + b) of the paper's output unit."""
    import jax

    import rnnjax

    net, head = in_its_units(params["lstm"]), params["head"]
    carry, _ = rnnjax.unroll(cell(CELLS), net, batch.xs, lengths=batch.lengths)
    return jax.nn.sigmoid(carry.h @ head[:-1] + head[-1])


def learn(batches: Any, every: int, params: Any, first: Any) -> Any:
    """The params after so many sequences from the first on, and the error of each."""
    import jax
    import jax.numpy as jnp

    def cost(params: Any, batch: Any) -> Any:
        error = answers(params, batch) - batch.targets[:, 0]
        return 0.5 * jnp.mean(error**2), jnp.abs(error[0])

    def update(params: Any, number: Any) -> Any:
        (_, error), grads = jax.value_and_grad(cost, has_aux=True)(params, batches[number])
        return jax.tree.map(lambda w, g: w - RATE * g, params, grads), error

    return jax.lax.scan(update, params, first + jnp.arange(every))


def cell(hidden: int) -> Any:
    """The LSTM of the paper: no forget gate, and an error that stays inside its cell."""
    import rnnjax

    return rnnjax.lstm_1997(hidden, truncate=True)


def start(key: Any) -> Any:
    """Weights uniform on ±0.1; biases of the input gates -3 and -6, by pairs of cells."""
    import jax
    import jax.numpy as jnp

    import rnnjax

    keys = jax.random.split(key, 4)
    shapes = (2, 3 * CELLS), (CELLS, 3 * CELLS), (3 * CELLS,), (CELLS + 1,)
    w_x, w_h, b, head = (
        jax.random.uniform(k, s, minval=-0.1, maxval=0.1) for k, s in zip(keys, shapes, strict=True)
    )
    b = b.at[:CELLS].add(jnp.repeat(jnp.array([-3.0, -6.0]), CELLS // 2))
    return {"lstm": rnnjax.cells.LSTM1997Params(w_x, w_h, b), "head": head}


def in_its_units(params: Any) -> Any:
    """The paper's squashing 4σ(z) - 2 of what enters a cell, in terms of tanh: half its weights.

    4σ(z) - 2 = 2 tanh(z/2), and 2σ(c) - 1 = tanh(c/2) of a cell state that is twice as large.
    """
    import jax.numpy as jnp

    half = jnp.repeat(jnp.array([1.0, 0.5, 1.0]), CELLS)  # gates i, g, o
    return type(params)(params.w_x * half[None], params.w_h * half[None], params.b * half)


def tests(task: Any, trial: int, options: dict[str, Any]) -> Any:
    """Sequences that no training run sees: one batch."""
    from rnnjax.tasks import adding

    size = options["test_size"]
    return [adding(cell=cell, hidden=CELLS, batch_size=size, **options).batches(10_000 + trial)[0]]


def draw(found: list[Run], path: Path) -> None:
    """The share of wrong answers against sequences, one line a trial."""
    from rnnjax.experiments.report import LOOKS, PAGE, new_figure, write_figure

    def panel() -> Any:
        figure, ((axis,),) = new_figure(1, 1, (0.47 * PAGE, 2.1))
        for run in found:
            sequences, share = smoothed(run["curve"])
            axis.plot(sequences, share, color=LOOKS["lstm_1997"].color, linewidth=0.8, alpha=0.8)
        wrong, after = PUBLISHED
        axis.plot([after], [100 * wrong / 2560], "k*", markersize=6)
        axis.annotate("published", (after, 100 * wrong / 2560), (8, -2), textcoords="offset points")
        axis.set(xscale="log", yscale="log", xlabel="training sequences", ylabel="wrong (%)")
        return figure

    write_figure(panel, path, "Adding problem with the LSTM of 1997")


def smoothed(curve: list[list[float]]) -> tuple[list[float], list[float]]:
    """Sequences, and the share of wrong answers among the last tenth of them in percent."""
    places, shares = [], []
    for place, (sequences, _, _) in enumerate(curve, 1):
        if not places or sequences >= 1.1 * places[-1]:
            last = curve[place - max(1, place // 10) : place]
            places.append(sequences)
            shares.append(100 * sum(row[2] for row in last) / len(last))
    return places, shares


def table(found: list[Run]) -> str:
    """Medians over the trials, beside the paper's table 7."""
    early = statistics.median(share_at(run, PUBLISHED[1]) for run in found)
    last = statistics.median(run["curve"][-1][0] for run in found)
    wrong = statistics.median(run["wrong"] for run in found)
    rows = [
        ["published, mean of 10", "93", f"{PUBLISHED[1]:,}", f"{100 * PUBLISHED[0] / 2560:.2f} %"],
        [f"here, median of {len(found)}", "89", f"{PUBLISHED[1]:,}", f"{100 * early:.1f} %"],
        ["", "89", f"{last:,.0f}", f"{100 * wrong / 2560:.1f} %"],
    ]
    return markdown(["", "weights", "sequences", "wrong"], rows)


def share_at(run: Run, sequences: int) -> float:
    """The share of wrong answers among the training sequences around this one, or the last."""
    near = [row for row in run["curve"] if abs(row[0] - sequences) <= 0.05 * sequences]
    shares = [row[2] for row in near or run["curve"][-1:]]
    return sum(shares) / len(shares)


if __name__ == "__main__":
    main(Paper("hochreiter_1997", runs, train, draw, table), __doc__)
