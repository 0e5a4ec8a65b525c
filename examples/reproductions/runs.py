"""What the reproductions share: a plain training loop, and many runs side by side.

Every script names its runs and trains one of them; `main` spreads them over processes, appends each
result to a file as a line of JSON, skips those that are there already, and draws the figure.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

Run = dict[str, Any]  # what tells a run from the others: cell, length, seed


class Paper(NamedTuple):
    """One reproduction."""

    name: str  # of the files
    runs: Callable[[int, bool], list[Run]]  # (seeds, short) -> the runs, longest first
    train: Callable[[Run, float, bool], Run]  # (run, seconds, short) -> its results, by name
    draw: Callable[[list[Run], Path], None]  # (runs with results, figure)
    table: Callable[[list[Run]], str]  # in Markdown, beside the published numbers


def learn(
    task: Any,
    optimizer: Any,
    *,
    seed: int,
    updates: int,
    every: int,
    seconds: float,
    cost: Callable[[Any, Any], Any] | None = None,
    start: Callable[[Any], Any] = lambda params: params,
    solved: Callable[[dict[str, float]], bool] = lambda scores: False,
) -> Run:
    """Train a task with an optax optimiser, until it is solved or updates or seconds run out.

    Args:
      task: of `rnnjax.tasks`.
      optimizer: of optax.
      seed: of params and of the stream of batches; test data are the same for all.
      updates: at most so many.
      every: updates between two evaluations.
      seconds: at most so long, compilation included.
      cost: `(params, batch) -> cost`; the task's own if None.
      start: params -> the params to begin with.
      solved: scores on test data -> whether to stop.

    Returns:
      `curve`, rows of updates, mean training cost and the task's metric; the last `scores`;
      `solved_at`, in updates, or None; `updates` and `seconds`.
    """
    import jax
    import jax.numpy as jnp
    import optax

    begun = time.monotonic()
    batches = task.batches(seed)
    cost = cost or (lambda params, batch: task.loss(params, None, batch, None)[0])

    def update(state: Any, number: Any) -> tuple[Any, Any]:
        params, moments = state
        value, grads = jax.value_and_grad(cost)(params, batches[number])
        changes, moments = optimizer.update(grads, moments, params)
        return (optax.apply_updates(params, changes), moments), value

    several = jax.jit(lambda state, first: jax.lax.scan(update, state, first + jnp.arange(every)))
    params = start(task.init(jax.random.key(seed)))
    state, curve, scores, done = (params, optimizer.init(params)), [], {}, None
    for first in range(0, updates, every):
        state, costs = several(state, first)
        scores = task.evaluate(state[0])
        curve.append([first + every, float(jnp.mean(costs)), scores[task.metric.name]])
        if solved(scores):
            done = first + every
        if done is not None or time.monotonic() - begun > seconds:
            break
    spent = round(time.monotonic() - begun, 1)
    last = curve[-1][0]
    return {"curve": curve, "scores": scores, "solved_at": done, "updates": last, "seconds": spent}


def main(paper: Paper, doc: str | None) -> None:
    """The command line of a reproduction."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=form)
    parser.add_argument("--seeds", type=int, default=3, help="runs of every setting")
    parser.add_argument("--seconds", type=float, default=300, help="at most so long a run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes side by side")
    parser.add_argument("--out", type=Path, default=Path("runs/reproductions"), help="a folder")
    parser.add_argument("--draw", action="store_true", help="draw what there is, run nothing")
    parser.add_argument("--short", action="store_true", help="a few updates, as a check")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"{paper.name}.jsonl"
    there = (
        [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []
    )
    wanted = paper.runs(options.seeds, options.short)
    missing = [run for run in wanted if not any(run.items() <= old.items() for old in there)]
    if not options.draw:
        for run, result in side_by_side(paper, missing, options):
            there.append({**run, **result})
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(there[-1]) + "\n")
            print(", ".join(f"{k} {v}" for k, v in there[-1].items() if k != "curve"), flush=True)
    found = [old for old in there if any(run.items() <= old.items() for run in wanted)]
    figure = options.out / f"{paper.name}.png"
    paper.draw(found, figure)
    print(f"\n{paper.table(found)}\n\nthe figure is in {figure}")


def draw_curves(
    found: list[Run],
    path: Path,
    title: str,
    *,
    panel: str,
    line: str,
    label: str,
    baseline: Callable[[Any], float],
) -> None:
    """The last column of every curve against updates: a panel for each value of one key of the
    runs, a color for each value of another, a line for each seed.

    Args:
      found: runs with their results.
      path: of the figure.
      title: of the file.
      panel, line: the keys.
      label: of the vertical axis, which is logarithmic.
      baseline: value of `panel` -> a dotted line.
    """
    from rnnjax.experiments.report import LOOKS, PAGE, cell_label, new_figure, write_figure

    values = sorted({run[panel] for run in found})
    names = sorted({run[line] for run in found})
    looks = {name: LOOKS[name] if name in LOOKS else LOOKS["gru"] for name in names}

    def line_of(axis: Any, name: str, x: Any, y: Any) -> Any:
        color, dashes = looks[name].color, looks[name].dashes
        return axis.plot(x, y, color=color, linestyle=dashes, linewidth=0.9, alpha=0.8)[0]

    def panels() -> Any:
        size = (PAGE * max(len(values), 2) / 4, 1.9)
        figure, axes = new_figure(1, len(values), size, sharey=True)
        for axis, value in zip(axes[0], values, strict=True):
            axis.axhline(baseline(value), color="black", linewidth=0.8, linestyle=(0, (1, 1.5)))
            for run in found:
                if run[panel] == value:
                    updates, _, scores = zip(*run["curve"], strict=True)
                    line_of(axis, run[line], updates, scores)
            axis.set(title=f"T = {value}", xscale="log", yscale="log", xlabel="updates")
        axes[0][0].set_ylabel(label)
        lines = [line_of(axes[0][0], name, [], []) for name in names]
        figure.legend(
            lines, [cell_label(name) for name in names], loc="outside upper center", ncols=4
        )
        return figure

    write_figure(panels, path, title)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def solved_of(found: list[Run], **wanted: Any) -> str:
    """How many of such runs were solved, and after how many updates: the range over seeds."""
    runs = [run for run in found if wanted.items() <= run.items()]
    times = [run["solved_at"] for run in runs if run["solved_at"]]
    ends = sorted({min(times), max(times)}) if times else []
    after = ", " + " to ".join(f"{end:,}" for end in ends) if ends else ""
    return f"{len(times)} of {len(runs)}{after}"


def side_by_side(paper: Paper, runs: list[Run], options: Any) -> Any:
    """Train the runs, so many at a time, each on one core; pairs of a run and its result."""
    if options.jobs == 1 or len(runs) < 2:
        for run in runs:
            yield run, paper.train(run, options.seconds, options.short)
        return
    context = multiprocessing.get_context("spawn")
    cores = context.Queue()
    pinned = hasattr(os, "sched_setaffinity")  # on Linux
    here = sorted(os.sched_getaffinity(0)) if pinned else range(os.cpu_count() or 1)
    for core in here:
        cores.put(core if pinned else None)
    jobs = min(options.jobs, len(here))
    with ProcessPoolExecutor(jobs, context, on_one_core, (cores,)) as pool:
        futures = {
            pool.submit(paper.train, run, options.seconds, options.short): run for run in runs
        }
        for future in as_completed(futures):
            yield futures[future], future.result()


def on_one_core(cores: Any) -> None:
    """Bind this process to a core of its own, before JAX starts."""
    core = cores.get()
    if core is not None:
        os.sched_setaffinity(0, {core})
    os.environ["JAX_PLATFORMS"] = "cpu"
