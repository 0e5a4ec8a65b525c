"""Hochreiter & Schmidhuber (1997), experiment 4: the adding problem with 100 steps.

    python examples/reproductions/hochreiter_1997.py

The paper's net of 93 weights: two blocks of two memory cells, a hidden layer where gates, too, are
inputs, and the truncated gradient. One update after every sequence at a rate of 0.5, until the last
2,000 sequences were all processed correctly, with an error below 0.04; then 2,560 new ones are
tested. Ten trials side by side with the paper's logistic output unit, and ten with a linear one.
"""

import statistics
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from runs import Paper, Run, main, markdown

RATE, TOLERANCE, IN_A_ROW = 0.5, 0.04, 2000
BLOCKS, SIZE = 2, 2
CELLS, UNITS = BLOCKS * SIZE, BLOCKS * SIZE + 2 * BLOCKS  # units: cells, input and output gates
SEQUENCES = 300_000  # at most
OUTPUTS = {"linear": "#0072B2", "logistic": "#D55E00"}
PUBLISHED = 1, 74_000  # table 7: wrong of 2,560, and sequences, means of ten trials


def runs(seeds: int, short: bool) -> list[Run]:
    """The trials of each output unit: ten in the paper."""
    trials = 2 if short else max(seeds, 10)
    return [{"output": output, "trials": trials} for output in reversed(OUTPUTS)]


def train(run: Run, seconds: float, short: bool) -> Run:
    """Online gradient descent until 2,000 sequences in a row are right, and the test."""
    import time

    import jax
    import jax.numpy as jnp
    import numpy as np

    from rnnjax.tasks import adding

    begun, length, every = time.monotonic(), 20 if short else 100, 2 if short else 1000
    options = {"length": length, "variant": "hochreiter_1997"}
    output, trials = run["output"], np.arange(run["trials"])
    batches = adding(batch_size=1, **options).batches(0)
    several = jax.jit(
        jax.vmap(partial(learn, output, batches, every, len(trials)), (0, 0, 0, None))
    )
    params = jax.vmap(lambda trial: start(jax.random.key(trial)))(trials)
    right, done, curve = np.zeros_like(trials), np.zeros_like(trials), []
    for first in range(0, 4 if short else SEQUENCES, every):
        params, errors = several(params, trials, done == 0, first)
        wrong = ~(np.asarray(errors) < TOLERANCE)
        behind = np.where(wrong.any(1), np.argmax(wrong[:, ::-1], 1), right + every)
        right = np.where(done, right, behind)
        curve.append([first + every, *wrong.mean(1).tolist()])
        done = np.where((done == 0) & (right >= IN_A_ROW), first + every, done)
        if done.all() or time.monotonic() - begun > seconds:
            break
    test = adding(batch_size=16 if short else 2560, **options).batches(1)[0]
    found = jax.vmap(partial(answers, output), (0, None))(params, test)
    wrong = ~(jnp.abs(found - test.targets[None, :, 0]) < TOLERANCE)
    return {
        "curve": curve,
        "wrong": jnp.sum(wrong, axis=1).tolist(),
        "weights": sum(leaf[0].size for leaf in jax.tree.leaves(params)),
        "solved_at": [at or None for at in done.tolist()],
        "seconds": round(time.monotonic() - begun, 1),
    }


def learn(output: str, batches: Any, every: int, trials: int, *state: Any) -> Any:
    """The params after so many sequences from the first on, and the error of each.

    `state` is params, the trial, whether it still learns, and the first sequence.
    """
    import jax
    import jax.numpy as jnp

    params, trial, learns, first = state
    rate = jnp.where(learns, RATE, 0.0)

    def cost(params: Any, batch: Any) -> Any:
        error = answers(output, params, batch) - batch.targets[:, 0]
        return 0.5 * jnp.mean(error**2), jnp.abs(error[0])

    def update(params: Any, number: Any) -> Any:
        batch = batches[number * trials + trial]
        (_, error), grads = jax.value_and_grad(cost, has_aux=True)(params, batch)
        return jax.tree.map(lambda w, g: w - rate * g, params, grads), error

    return jax.lax.scan(update, params, first + jnp.arange(every))


def answers(output: str, params: Any, batch: Any) -> Any:
    """The output unit after the last step: w y_T + b of the memory cells, squashed or not."""
    import jax

    import rnnjax

    hidden, head = params["hidden"], params["head"]
    carry, _ = rnnjax.unroll(memory_blocks(), hidden, batch.xs, lengths=batch.lengths)
    z = carry.y[..., :CELLS] @ head[:-1] + head[-1]
    return jax.nn.sigmoid(z) if output == "logistic" else z


class Hidden(NamedTuple):
    """Weights to the cells, the input gates and the output gates, side by side."""

    w_x: Any  # [2, UNITS]
    w_y: Any  # [UNITS, UNITS]
    b: Any  # [UNITS]


class Carry(NamedTuple):
    """What the next step needs."""

    s: Any  # [..., CELLS], internal states
    y: Any  # [..., UNITS], activations


def memory_blocks() -> Any:
    """The paper's hidden layer, equations 3 to 9, with the truncated gradient of appendix A.1.

    net = x_t W_x + y_{t-1} W_y + b;   no error goes back through y_{t-1}
    s_t = s_{t-1} + y_in ⊙ g(net_c),   g(z) = 4σ(z) - 2
    y_c = y_out ⊙ h(s_t),              h(s) = 2σ(s) - 1
    """
    import jax
    import jax.numpy as jnp

    import rnnjax

    def initial_carry(params: Any, batch_shape: Any = (), key: Any = None) -> Any:
        del key
        zeros = jnp.zeros((*batch_shape, UNITS), params.b.dtype)
        return Carry(zeros[..., :CELLS], zeros)

    def step(params: Any, carry: Any, x_t: Any) -> Any:
        y_tm1 = jax.lax.stop_gradient(carry.y)
        net = rnnjax.linear_algebra.joint_affine(x_t, y_tm1, params.w_x, params.w_y, params.b)
        squashed = jax.nn.sigmoid(net)
        cells, gates = squashed[..., :CELLS], squashed[..., CELLS:]
        y_in, y_out = jnp.split(jnp.repeat(gates, SIZE, axis=-1), 2, axis=-1)
        s = carry.s + y_in * (4 * cells - 2)
        y_c = y_out * (2 * jax.nn.sigmoid(s) - 1)
        return Carry(s, jnp.concatenate([y_c, gates], axis=-1)), y_c

    return rnnjax.Cell(lambda key, inputs: start(key)["hidden"], initial_carry, step)


def start(key: Any) -> Any:
    """All weights uniform on ±0.1, and -3 and -6 more for the biases of the two input gates."""
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(key, 4)
    shapes = (2, UNITS), (UNITS, UNITS), (UNITS,), (CELLS + 1,)
    w_x, w_y, b, head = (
        jax.random.uniform(k, s, minval=-0.1, maxval=0.1) for k, s in zip(keys, shapes, strict=True)
    )
    b = b.at[CELLS : CELLS + BLOCKS].add(jnp.array([-3.0, -6.0]))
    return {"hidden": Hidden(w_x, w_y, b), "head": head}


def draw(found: list[Run], path: Path) -> None:
    """The share of wrong answers against sequences, one line a trial until it ends."""
    from rnnjax.experiments.report import PAGE, new_figure, write_figure

    def panel() -> Any:
        figure, ((axis,),) = new_figure(1, 1, (0.47 * PAGE, 2.3))
        for run in found:
            for trial, end in enumerate(run["solved_at"]):
                rows = [row for row in run["curve"] if end is None or row[0] <= end]
                sequences, shares = smoothed([(row[0], row[1 + trial]) for row in rows])
                color = OUTPUTS[run["output"]]
                axis.plot(sequences, shares, color=color, linewidth=0.7, alpha=0.7)
        wrong, after = PUBLISHED
        star = after / 1000, 100 * wrong / 2560
        axis.plot(*star, "k*", markersize=6)
        place = {"xytext": (-8, -3), "textcoords": "offset points", "ha": "right"}
        axis.annotate("published", star, **place)
        axis.set(yscale="log", xlabel="training sequences (thousands)", ylabel="wrong (%)")
        lines = [axis.plot([], [], color=color)[0] for color in OUTPUTS.values()]
        names = [f"{name} output unit" for name in OUTPUTS]
        figure.legend(lines, names, loc="outside upper center", ncols=2)
        return figure

    write_figure(panel, path, "Adding problem with the LSTM of 1997")


def smoothed(curve: list[tuple[int, float]]) -> tuple[list[float], list[float | None]]:
    """Thousands of sequences, and the percentage of wrong answers among the last three of them."""
    sequences = [at / 1000 for at, _ in curve]
    means = [statistics.mean(w for _, w in curve[max(0, k - 2) : k + 1]) for k in range(len(curve))]
    return sequences, [100 * mean or None for mean in means]


def table(found: list[Run]) -> str:
    """Both output units beside the paper's table 7."""
    wrong, after = PUBLISHED
    rows = [["published", "93", "10 of 10", f"{after:,}", f"{100 * wrong / 2560:.2f} %"]]
    for run in found:
        times = [at or run["curve"][-1][0] for at in run["solved_at"]]
        solved = sum(at is not None for at in run["solved_at"])
        spread = f"{statistics.mean(times):,.0f}"
        if min(times) < max(times):
            spread += f" ({min(times):,} to {max(times):,})"
        shares = [100 * wrong / 2560 for wrong in run["wrong"]]
        share = f"{statistics.mean(shares):.2f} % ({min(shares):.2f} to {max(shares):.2f})"
        ended = f"{solved} of {run['trials']}"
        rows.append([f"{run['output']} output unit", f"{run['weights']}", ended, spread, share])
    return markdown(["", "weights", "trials that end", "sequences", "wrong"], rows)


if __name__ == "__main__":
    main(Paper("hochreiter_1997", runs, train, draw, table), __doc__)
