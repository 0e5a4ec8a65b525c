"""Pascanu, Mikolov & Bengio (2013): how long a temporal order can a tanh net learn by SGD?

    python examples/reproductions/pascanu_2013.py

Plain SGD, SGD with the gradient clipped to norm 1, and the same with their regulariser Ω, on the
temporal order problem: 50 tanh units from their "smart tanh" start (15 inputs a unit, spectral
radius 0.95), minibatches of 20, Ω averaged over steps and weighed by 2, as in their code. They run
up to five million updates at a rate of 0.01; here the rate is larger, and the limit 30,000.
"""

from pathlib import Path
from typing import Any

from runs import Paper, Run, learn, main, markdown, solved_of

LENGTHS = (20, 50, 100, 150, 200)
WAYS = {"SGD": (False, 0.0), "SGD, clipped": (True, 0.0), "SGD, clipped, with Ω": (True, 2.0)}
LOOKS = dict(
    zip(WAYS, [("#000000", "s", 5.5), ("#D55E00", "o", 4), ("#0072B2", "^", 3)], strict=True)
)
PUBLISHED = {  # section 4.1
    "SGD": "declines with T",
    "SGD, clipped": "declines with T",
    "SGD, clipped, with Ω": "always, to T = 200",
}
RATE, SOLVED = 0.03, 0.99


def runs(seeds: int, short: bool) -> list[Run]:
    """Every way at every length, the slowest first."""
    lengths = (20,) if short else LENGTHS
    return [
        {"way": way, "length": length, "seed": seed}
        for length in reversed(lengths)
        for way in reversed(WAYS)
        for seed in range(seeds)
    ]


def train(run: Run, seconds: float, short: bool) -> Run:
    """SGD, until more than 99 % of the test strings are classified."""
    import jax
    import jax.numpy as jnp
    import optax

    from rnnjax.flow import pascanu_regularizer
    from rnnjax.tasks import temporal_order

    clipped, weight = WAYS[run["way"]]
    task = temporal_order(
        cell="vanilla",
        hidden=50,
        length=run["length"],
        batch_size=20,
        test_size=20 if short else 2000,
    )

    def cost(params: Any, batch: Any) -> Any:
        error = task.loss(params, None, batch, None)[0]
        if not weight:
            return error
        net = task.recurrence(params, batch)
        omega = pascanu_regularizer(net.cell, net.params, net.xs, net.cost)
        return error + weight * jnp.mean(omega) / run["length"]

    rate = run.get("rate", RATE)
    clip = [optax.clip_by_global_norm(1.0)] if clipped else []
    return learn(
        task,
        optax.chain(*clip, optax.sgd(rate)),
        seed=run["seed"],
        updates=2 if short else 30_000,
        every=1 if short else 500,
        seconds=seconds,
        cost=cost,
        start=lambda params: smart_tanh(params, jax.random.key(1000 + run["seed"])),
        solved=lambda scores: scores["accuracy"] > SOLVED,
    )


def smart_tanh(params: Any, key: Any) -> Any:
    """The authors' start: 15 recurrent weights a unit, spectral radius 0.95; the rest small."""
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(key, 4)
    w_x, w_h, b = params.layer
    chosen = jax.vmap(lambda k: jax.random.permutation(k, len(w_h)) < 15)(
        jax.random.split(keys[1], len(w_h))
    )
    w_h = jax.random.normal(keys[0], w_h.shape) * chosen
    w_h = 0.95 * w_h / jnp.max(jnp.abs(jnp.linalg.eigvals(w_h)))
    w_x = 0.01 * jax.random.normal(keys[2], w_x.shape)
    head = jax.tree.map(
        lambda w: 0.01 * jax.random.normal(keys[3], w.shape) * (w.ndim > 1), params.head
    )
    return params._replace(layer=type(params.layer)(w_x, w_h, b), head=head)


def draw(found: list[Run], path: Path) -> None:
    """The success rate against the length, and the updates that it took."""
    from rnnjax.experiments.report import PAGE, new_figure, write_figure

    def panels() -> Any:
        figure, ((left, right),) = new_figure(1, 2, (0.75 * PAGE, 2.1))
        for way, (color, marker, size) in LOOKS.items():
            look = {"color": color, "marker": marker, "markersize": size, "fillstyle": "none"}
            runs = [run for run in found if run["way"] == way]
            lengths = sorted({run["length"] for run in runs})
            rates = [success(runs, length) for length in lengths]
            left.plot(lengths, rates, label=way, **look)
            solved = [run for run in runs if run["solved_at"]]
            at = [run["solved_at"] for run in solved]
            right.plot([run["length"] for run in solved], at, linestyle="none", **look)
        left.set(xlabel="T", ylabel="runs that succeed (%)", ylim=(-4, 104))
        right.set(xlabel="T", ylabel="updates until then", yscale="log", xlim=left.get_xlim())
        figure.legend(loc="outside upper center", ncols=3)
        return figure

    write_figure(panels, path, "Temporal order: SGD, clipped, and with the regulariser")


def success(runs: list[Run], length: int) -> float:
    """The share of the runs of this length that succeed, in percent."""
    solved = [run["solved_at"] is not None for run in runs if run["length"] == length]
    return 100 * sum(solved) / len(solved)


def table(found: list[Run]) -> str:
    """Runs that were solved, by way and length."""
    lengths = sorted({run["length"] for run in found})
    rows = [
        [way, *(solved_of(found, way=way, length=length) for length in lengths), PUBLISHED[way]]
        for way in WAYS
    ]
    return markdown(["", *(f"T = {length}" for length in lengths), "published"], rows)


if __name__ == "__main__":
    main(Paper("pascanu_2013", runs, train, draw, table), __doc__)
