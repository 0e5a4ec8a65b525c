"""`rnnjax train`: train one task, and print its results beside the baselines."""

import math
import shlex
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import typer

from rnnjax._checks import check_choice
from rnnjax.experiments._extended import Extension
from rnnjax.experiments.cli._output import complain, errors_of, show_results
from rnnjax.experiments.cli._plan import Plan, full_options, make_task, read_plan, with_flags
from rnnjax.experiments.cli._printing import say
from rnnjax.experiments.cli._streams import waiting
from rnnjax.experiments.tasks import TASKS, Task
from rnnjax.experiments.training import (
    CONFIG,
    Interrupted,
    ResolvedSettings,
    Result,
    Settings,
    check_memory,
    check_writable,
    fit,
    flow_callback,
    is_unused,
    logged_mean,
    logged_values,
    resolve,
)

_READS = {  # what the commands need beside the folder of the run
    "caption": " PICTURE…",
    "classify": " THING…",
    "transcribe": " RECORDING…",
}


class RunOptions(NamedTuple):
    """Flags about the run rather than the task or its training."""

    out: Path | None = None
    resume: bool = False
    config: Path | None = None
    flow_every: int | None = None  # None: as in the file; 0: off
    tensorboard: bool | None = None  # None: as in the file
    quiet: bool = False


def train(
    name: str, options: Mapping[str, Any], settings: Mapping[str, Any], run: RunOptions
) -> None:
    """Train a task; exits with 2 on wrong use, 1 on NaN or Inf, 130 on Ctrl-C, 143 on SIGTERM.

    Args:
      name: a key of `TASKS`.
      options: options of the task that were given as flags.
      settings: fields of `Settings` that were given as flags.
      run: flags about the run.
    """
    command = f"train {name}"
    with errors_of(command):
        check_choice("TASK", name, TASKS)
        out = run.out or Path("runs") / name
        place = shlex.quote(str(out))
        check_writable(out)
        plan = with_flags(_plan(name, out, run), options, settings, _run_flags(run))
        with waiting(f"{name}: reading the data", quiet=run.quiet):
            task = make_task(plan)
        settings_given = Settings(**plan.settings)
        full = resolve(settings_given, task.recipe)
        if plan.run.get("flow_every") and task.recurrence is None:
            raise ValueError("this task has no --flow-every: it does not expose its recurrent cell")
        check_memory(task, full, {**plan.options, **plan.settings})
        if not run.quiet:
            for line in (*task.notes, _summary(task, full)):
                say(line, err=True)
        try:
            result = _fit(plan, task, settings_given, out, run)
        except Interrupted as interrupted:
            show_results(task, interrupted.result)
            again = f"continue with: rnnjax train {name} --out {place} --resume"
            complain(command, f"{interrupted}; {again}", "yellow")
            raise typer.Exit(128 + interrupted.signal) from None
        show_results(task, result)
        _check_result(task, result)
    say(f"config.toml, metrics.jsonl, checkpoints and results.json are in {out}")
    for use in task.infer:
        say(f"to use it: rnnjax {use} {place}{_READS.get(use, '')}")


def _check_result(task: Task, result: Result) -> None:
    """Raise FloatingPointError if the final metric is not finite."""
    name = task.metric.name
    value = result.metrics[name]
    if not np.isfinite(logged_values(value)).all():
        raise FloatingPointError(
            f"the final {name} is not finite ({logged_mean(value):.4g}): the model diverged. Lower "
            "--learning-rate or --clip-norm"
        )


def _plan(name: str, out: Path, run: RunOptions) -> Plan:
    """The plan in the file of --config, else in the run to resume, else an empty one."""
    held = (out / CONFIG).is_file()
    if held and not run.resume and not is_unused(out):
        raise ValueError(
            f"{out} holds a run already: continue it with --resume, or train in another folder "
            "with --out"
        )
    source = run.config or (out if held and run.resume else None)
    if source is None:
        return Plan(name, {}, {})
    plan = read_plan(source)
    if plan.task != name:
        raise ValueError(f"{source} is of the task {plan.task!r}, not of {name!r}")
    if plan.extended and not (held and run.resume):
        warnings.warn(_not_repeated(source, plan.extended), stacklevel=2)
    return plan


def _not_repeated(source: Path, extended: Sequence[Extension]) -> str:
    """Why a run from the config of one that was given more steps is not the same."""
    each = [f"up to {after:,} at those of a run of {steps:,} steps" for after, steps in extended]
    return (
        f"{source} is of a run that was given more steps, whose learning rates were "
        f"{', '.join(each)}; this run takes those of its own length throughout, and does not "
        "repeat it bit for bit"
    )


def _run_flags(run: RunOptions) -> dict[str, Any]:
    """The flags that go into the plan's table [run]."""
    flags = {"flow_every": run.flow_every, "tensorboard": run.tensorboard}
    return {name: value for name, value in flags.items() if value is not None}


def _summary(task: Task, settings: ResolvedSettings) -> str:
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    seeds = "" if settings.seeds == 1 else f", {settings.seeds} seeds at once"
    return (
        f"{task.name}: {count:,} weights{seeds}, {settings.steps:,} steps at a learning rate of "
        f"{settings.learning_rate:g} ({settings.schedule}), on {jax.devices()[0]}"
    )


def _fit(plan: Plan, task: Task, settings: Settings, out: Path, run: RunOptions) -> Result:
    every = plan.run.get("flow_every")
    return fit(
        task,
        settings,
        out,
        [flow_callback(every, at_start=True)] if every else [],
        run.resume,
        config={"task": plan.task, "options": full_options(plan), "run": plan.run},
        quiet=run.quiet,
        tensorboard=plan.run.get("tensorboard", False),
    )
