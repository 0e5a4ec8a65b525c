"""Arjovsky, Shah & Bengio (2016): copying ten symbols over 100 steps.

    python examples/reproductions/arjovsky_2016.py

A uRNN of 128 complex units, an LSTM of 40 and a tanh net of 80 (6,153, 8,529 and 8,009 params with
their heads), trained by RMSprop at 0.001 with decay 0.9 and minibatches of 20, as in the paper.
"""

import math
from pathlib import Path
from typing import Any

from runs import Paper, Run, draw_curves, learn, main, markdown, solved_of

SIZES = {"urnn": 128, "lstm": 40, "vanilla": 80}
DELAYS = (100, 200, 500)


def runs(seeds: int, short: bool) -> list[Run]:
    """Every cell with every delay."""
    return [
        {"cell": cell, "delay": delay, "seed": seed}
        for delay in ((5,) if short else reversed(DELAYS))
        for cell in SIZES
        for seed in range(seeds)
    ]


def train(run: Run, seconds: float, short: bool) -> Run:
    """RMSprop, until the cost is a hundredth of the baseline."""
    import jax
    import optax

    from rnnjax.tasks import copying

    size = 8 if short else SIZES[run["cell"]]
    task = copying(
        cell=unitary if run["cell"] == "urnn" else run["cell"],
        hidden=size,
        delay=run["delay"],
        batch_size=20,
        test_size=20 if short else 500,
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.rmsprop(1e-3, decay=0.9))
    return learn(
        task,
        optimizer,
        seed=run["seed"],
        updates=2 if short else 20_000,
        every=1 if short else 100,
        seconds=seconds,
        start=lambda params: with_state(params, jax.random.key(run["seed"])),
        solved=lambda scores: scores["loss"] < 0.01 * task.baselines["memoryless"],
    )


def unitary(hidden: int) -> Any:
    """A uRNN whose initial state is trained, as in the paper."""
    import rnnjax

    return rnnjax.learned_carry(rnnjax.urnn(hidden))


def with_state(params: Any, key: Any) -> Any:
    """The paper's initial state of a uRNN: uniform, with an expected squared norm of 1."""
    import jax
    import jax.numpy as jnp

    if not hasattr(params.layer, "carry"):
        return params
    (h,) = params.layer.carry
    most = jnp.sqrt(3 / h.size)  # h holds real and imaginary parts
    carry = type(params.layer.carry)(jax.random.uniform(key, h.shape, minval=-most, maxval=most))
    return params._replace(layer=params.layer._replace(carry=carry))


def draw(found: list[Run], path: Path) -> None:
    """The cost against updates, one panel a delay."""
    draw_curves(
        found,
        path,
        "Copying: uRNN, LSTM and tanh net",
        panel="delay",
        line="cell",
        label="test cost (nats)",
        baseline=memoryless,
    )


def memoryless(delay: int) -> float:
    """The cost of blanks, and of guesses where the symbols are asked for."""
    return 10 * math.log(8) / (delay + 20)


def table(found: list[Run]) -> str:
    """The lowest test cost of every cell, as a range over seeds, beside the paper's figure 1."""
    rows = []
    for delay in sorted({run["delay"] for run in found}):
        for cell in SIZES:
            runs = [run for run in found if run["cell"] == cell and run["delay"] == delay]
            lowest = sorted(min(score for _, _, score in run["curve"]) for run in runs)
            if lowest:
                solved = solved_of(found, cell=cell, delay=delay)
                costs = f"{lowest[0]:.4f} to {lowest[-1]:.4f}"
                rows.append([f"{delay}", cell, costs, f"{memoryless(delay):.4f}", solved])
    return markdown(["T", "cell", "lowest cost", "memoryless", "solved, updates"], rows)


if __name__ == "__main__":
    main(Paper("arjovsky_2016", runs, train, draw, table), __doc__)
