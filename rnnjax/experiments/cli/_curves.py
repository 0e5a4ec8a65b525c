"""`rnnjax curves`: the learning curves of several runs in one figure."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnjax._checks import check_choice
from rnnjax.experiments._metrics import check_metric
from rnnjax.experiments._order import natural
from rnnjax.experiments._parsing import parse_json
from rnnjax.experiments.cli._output import errors_of
from rnnjax.experiments.cli._plan import Plan, make_task, read_plan
from rnnjax.experiments.cli._printing import say
from rnnjax.experiments.report import LOOKS, RunCurve, cell_label, write_curves
from rnnjax.experiments.tasks import Metric
from rnnjax.experiments.training import RESULTS, logged_mean, read_metrics


def draw_curves(folders: Sequence[Path], out: Path, metric: str | None) -> None:
    """Draw the learning curves of runs of one task into a file; exits with 2 on wrong use.

    Args:
      folders: of the runs; one that is named twice is drawn once.
      out: the file.
      metric: its name in `Task.evaluate`; None for the task's own metric.
    """
    with errors_of("curves"):
        folders = list({folder.resolve(): folder for folder in folders}.values())
        plans = [read_plan(folder) for folder in folders]
        others = {plan.task for plan in plans} - {plans[0].task}
        if others:
            raise ValueError(
                f"the runs are of different tasks, {plans[0].task} and {', '.join(others)}: draw "
                "each task by itself"
            )
        drawn, baselines = _metric_of(folders[0], plans[0])
        labels = _labels(folders, plans)
        runs = [
            RunCurve(label, [entry for entry in read_metrics(folder) if entry["step"]])
            for label, folder in zip(labels, folders, strict=True)
        ]
        if not any(run.history for run in runs):
            raise ValueError(f"{folders[0]} holds a run that has not logged anything yet")
        if metric is not None and metric != drawn.name:
            names = {name for run in runs for entry in run.history for name in _evaluation(entry)}
            if not names:
                raise ValueError(f"--metric {metric}: nothing has been evaluated yet")
            check_choice("--metric", metric, sorted(names, key=natural))
            drawn, baselines = Metric(metric, "max"), {}
        apart = _apart(drawn, baselines, folders[1:], plans[1:])
        baselines = {name: value for name, value in baselines.items() if name not in apart}
        out.parent.mkdir(parents=True, exist_ok=True)
        title = f"Learning curves: {plans[0].task}"
        written = write_curves(runs, drawn, out, baselines, title)
    if apart:
        say(
            f"the runs do not have the same baselines: left out: {', '.join(apart)}; draw a run "
            "by itself to see its own",
            err=True,
        )
    say(f"the curves are in {written}")


def _evaluation(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    return entry.get("evaluation", {})


def _metric_of(folder: Path, plan: Plan) -> tuple[Metric, Mapping[str, float]]:
    """The metric and baselines of a run, made from its task if the run is not finished."""
    path = folder / RESULTS
    if not path.is_file():
        task = make_task(plan)
        return task.metric, task.baselines
    try:
        content = parse_json(path.read_bytes())
        baselines = {name: logged_mean(each) for name, each in content["baselines"].items()}
        return check_metric("the metric", Metric(**content["metric"])), baselines
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected the metric and the baselines of a run as rnnjax train writes them, "
            f"got {type(error).__name__}: {error}; move the file away to make them from the task"
        ) from None


def _apart(
    metric: Metric,
    baselines: Mapping[str, float],
    folders: Sequence[Path],
    plans: Sequence[Plan],
) -> list[str]:
    """The baselines of a run that other runs with its metric do not share, or not as is known."""
    apart: list[str] = []
    for folder, plan in zip(folders, plans, strict=True):
        known = (name for name, value in baselines.items() if math.isfinite(value))
        left = {name: baselines[name] for name in known if name not in apart}
        if not left:
            break
        try:
            other, found = _metric_of(folder, plan)
        except (ValueError, OSError, ImportError):  # such as data that have been moved
            other, found = metric, {}
        if other.name == metric.name:
            apart += [name for name in left if not _near(found.get(name), left[name])]
    return apart


def _near(value: float | None, other: float) -> bool:
    return value is not None and math.isclose(value, other, rel_tol=1e-6)


def _labels(folders: Sequence[Path], plans: Sequence[Plan]) -> list[str]:
    """Label runs by what distinguishes them: the cell, other options, or the folder's name."""
    tables = [{**plan.options, **plan.settings} for plan in plans]
    cells = [table.get("cell") for table in tables]
    if len(set(map(str, cells))) == len(cells) and None not in cells:
        return [str(cell) for cell in cells]
    names = dict.fromkeys(name for table in tables for name in table)
    apart = [name for name in names if len({str(table.get(name)) for table in tables}) > 1]
    labels = [", ".join(_option(name, table.get(name)) for name in apart) for table in tables]
    if len(set(labels)) < len(labels) or "" in labels or max(map(len, labels)) > _LONG:
        return _shortest_paths(folders)
    return labels


_LONG = 40  # characters of a label above which the folder's name is used instead


def _option(name: str, value: Any) -> str:
    if name == "cell":
        return cell_label(str(value))
    return f"{name} {'default' if value is None else '∞' if value == math.inf else value}"


def _shortest_paths(folders: Sequence[Path]) -> list[str]:
    """The last parts of each path, as many as tell them apart, also from the names of cells."""
    parts = [folder.absolute().parts for folder in folders]
    longest = max(map(len, parts))
    tails = [["/".join(each[-count:]) for each in parts] for count in range(1, longest + 1)]
    apart = (each for each in tails if len(set(each)) == len(each) and not LOOKS.keys() & each)
    return next(apart, tails[-1])
