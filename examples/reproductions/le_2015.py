"""Le, Jaitly & Hinton (2015): a ReLU net that starts at the identity learns the adding problem.

    python examples/reproductions/le_2015.py

An IRNN, an LSTM and a tanh net of 100 units on the adding problem with 150 to 400 steps,
minibatches of 16 and clipped gradients, as in the paper. It trains by SGD for millions of updates;
here it is Adam, for minutes.
"""

from pathlib import Path

from runs import Paper, Run, draw_curves, learn, main, markdown, solved_of

LENGTHS = (150, 200, 300, 400)
RATES = {"irnn": 3e-4, "lstm": 1e-2, "vanilla": 1e-3}
UPDATES = {"irnn": 50_000, "lstm": 20_000, "vanilla": 10_000}
PUBLISHED = {  # figure 1
    "irnn": "solved to T = 400",
    "lstm": "solved to T = 300",
    "vanilla": "at the baseline from T = 150",
}
BASELINE, SOLVED = 1 / 6, 0.01


def runs(seeds: int, short: bool) -> list[Run]:
    """Every cell at every length, the slowest first."""
    lengths = (10,) if short else LENGTHS
    return [
        {"cell": cell, "length": length, "seed": seed}
        for length in reversed(lengths)
        for cell in ("lstm", "irnn", "vanilla")
        for seed in range(seeds)
    ]


def train(run: Run, seconds: float, short: bool) -> Run:
    """Adam with a clipped gradient, until the squared error is below 0.01."""
    import optax

    from rnnjax.tasks import adding

    task = adding(
        cell=run["cell"],
        hidden=8 if short else 100,
        length=run["length"],
        batch_size=16,
        test_size=20 if short else 1000,
    )
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(run.get("rate", RATES[run["cell"]]))
    )
    return learn(
        task,
        optimizer,
        seed=run["seed"],
        updates=2 if short else UPDATES[run["cell"]],
        every=1 if short else 200,
        seconds=seconds,
        solved=lambda scores: scores["mse"] < SOLVED,
    )


def draw(found: list[Run], path: Path) -> None:
    """The squared error against updates, one panel a length, one line a run."""
    draw_curves(
        found,
        path,
        "Adding problem: IRNN, LSTM and tanh net",
        panel="length",
        line="cell",
        label="test squared error",
        baseline=lambda length: BASELINE,
    )


def table(found: list[Run]) -> str:
    """Runs that were solved, by cell and length, beside the paper's figure 1."""
    lengths = sorted({run["length"] for run in found})
    rows = [
        [cell, *(solved_of(found, cell=cell, length=length) for length in lengths), PUBLISHED[cell]]
        for cell in RATES
    ]
    return markdown(["cell", *(f"T = {length}" for length in lengths), "published"], rows)


if __name__ == "__main__":
    main(Paper("le_2015", runs, train, draw, table), __doc__)
