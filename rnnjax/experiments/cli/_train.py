"""`rnnjax train`: one task, from options to a table of results."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import typer

from rnnjax._checks import check_choice
from rnnjax.experiments.cli._errors import INTERRUPTED, complain, errors_of
from rnnjax.experiments.cli._plan import Plan, full_options, make_task, read_plan, with_flags
from rnnjax.experiments.cli._results import show_results
from rnnjax.experiments.tasks import TASKS, Task
from rnnjax.experiments.training import (
    CONFIG,
    Interrupted,
    Result,
    Settings,
    fit,
    flow_callback,
    never_saved,
    resolved,
)


class RunOptions(NamedTuple):
    out: Path | None = None
    resume: bool = False
    config: Path | None = None
    flow_every: int | None = None  # None: as the file says; 0: not
    tensorboard: bool | None = None  # None: as the file says
    quiet: bool = False


def train(
    name: str, options: Mapping[str, Any], settings: Mapping[str, Any], run: RunOptions
) -> None:
    """Train a task; exits with 2 on wrong use, 1 on NaN or Inf, and 130 on Ctrl-C.

    Args:
      name: a key of `TASKS`.
      options: those of the task that were given as flags.
      settings: fields of `Settings`, likewise.
      run: where and how.
    """
    command = f"train {name}"
    with errors_of(command):
        check_choice("TASK", name, TASKS)
        out = run.out or Path("runs") / name
        plan = with_flags(_plan(name, out, run), options, settings, _asked(run))
        task = make_task(plan)
        full = resolved(Settings(**plan.settings), task.recipe)
        if plan.run.get("flow_every") and task.recurrence is None:
            raise ValueError("this task has no --flow-every: its recurrence is not laid open")
        if not run.quiet:
            typer.echo(_opening(task, full), err=True)
        try:
            result = _fit(plan, task, full, out, run)
        except Interrupted as interrupted:
            show_results(task, interrupted.result)
            again = f"go on with: rnnjax train {name} --out {out} --resume"
            complain(command, f"{interrupted}; {again}", "yellow")
            raise typer.Exit(INTERRUPTED) from None
        show_results(task, result)
    typer.echo(f"config.toml, metrics.jsonl, checkpoints and results.json are in {out}")
    for use in task.infer:
        typer.echo(f"to use it: rnnjax {use} {out} …")


def _plan(name: str, out: Path, run: RunOptions) -> Plan:
    """What a file says: the one that is given, else that of the run to go on with."""
    held = (out / CONFIG).is_file()
    if held and not run.resume and not never_saved(out):
        raise ValueError(
            f"{out} holds a run already: go on with it by --resume, or train in another folder "
            "by --out"
        )
    source = run.config or (out if held and run.resume else None)
    if source is None:
        return Plan(name, {}, {})
    plan = read_plan(source)
    if plan.task != name:
        raise ValueError(f"{source} is of the task {plan.task!r}, not of {name!r}")
    return plan


def _asked(run: RunOptions) -> dict[str, Any]:
    """What of the plan's table of the run was given as flags."""
    flags = {"flow_every": run.flow_every, "tensorboard": run.tensorboard}
    return {name: value for name, value in flags.items() if value is not None}


def _opening(task: Task, settings: Settings) -> str:
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    nets = "" if settings.seeds == 1 else f", {settings.seeds} nets at once"
    return f"{task.name}: {count:,} weights, {settings.steps:,} steps{nets}"


def _fit(plan: Plan, task: Task, settings: Settings, out: Path, run: RunOptions) -> Result:
    every = plan.run.get("flow_every")
    return fit(
        task,
        settings,
        out,
        [flow_callback(every)] if every else [],
        run.resume,
        config={"task": plan.task, "options": full_options(plan), "run": plan.run},
        quiet=run.quiet,
        tensorboard=plan.run.get("tensorboard", False),
    )
