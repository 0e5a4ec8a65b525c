"""`rnnjax curves`: which runs it draws, with which labels."""

import json
import math
import shutil
from typing import Any

import numpy as np
import pytest
from command_line import run
from PIL import Image

from rnnjax.experiments.cli import _curves


@pytest.fixture
def runs(tmp_path):
    """Two runs of adding with different cells, one unfinished, and a run of another task."""
    for name, task, cell in (("a", "adding", "lstm"), ("b", "adding", "gru"), ("c", "sine", "gru")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.toml").write_text(f'task = "{task}"\n[options]\ncell = "{cell}"\n')
        lines = [
            {"step": k, "cost": 1 / k, "evaluation": {"mse": 0.1 / k, "wrong": 0.5}} for k in (1, 2)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = {
        "metric": {"name": "mse", "goal": "min", "unit": ""},
        "baselines": {"mean": 1 / 6},  # of the task
    }
    (tmp_path / "a" / "results.json").write_text(json.dumps(results))
    return tmp_path


@pytest.fixture
def drawn(monkeypatch):
    """The arguments of `write_curves`, which is still called."""
    calls: list[tuple[Any, ...]] = []
    write = _curves.write_curves
    monkeypatch.setattr(
        _curves, "write_curves", lambda *given: calls.append(given) or write(*given)
    )
    return calls


def test_runs_are_labelled_by_what_distinguishes_them(runs, drawn):
    out = runs / "new" / "x.png"
    done = run("curves", runs / "a", runs / "b", "--out", out)
    assert (done.returncode, done.stdout) == (0, f"the curves are in {out}\n")
    assert np.asarray(Image.open(out)).std() > 10
    curves, metric, _, baselines, title = drawn[0]
    assert title == "Learning curves: adding"
    assert [curve.label for curve in curves] == ["lstm", "gru"]
    assert [entry["cost"] for entry in curves[1].history] == [1, 0.5]
    assert (metric.name, metric.goal, baselines) == (
        "mse",
        "min",
        {"mean": pytest.approx(1 / 6)},
    )
    assert done.stderr == ""


def test_runs_of_one_cell_are_labelled_by_other_options(runs, drawn):
    for name, limit in (("a", 1.5), ("b", "inf")):
        text = f'task = "adding"\n[options]\ncell = "gru"\n[settings]\nclip_norm = {limit}\n'
        (runs / name / "config.toml").write_text(text)
    assert run("curves", runs / "a", runs / "b", "--out", runs / "x.png").returncode == 0
    assert [curve.label for curve in drawn[0][0]] == ["clip_norm 1.5", "clip_norm ∞"]


def test_an_unfinished_run_takes_metric_and_baselines_from_its_task(runs, drawn):
    assert run("curves", runs / "b", "--out", runs / "x.png").returncode == 0
    assert drawn[0][1].name == "mse"
    assert drawn[0][3] == {"mean": pytest.approx(1 / 6)}


def test_runs_with_equal_options_are_labelled_by_folder(runs, drawn):
    (runs / "a" / "config.toml").write_text('task = "adding"\n[options]\ncell = "gru"\n')
    assert run("curves", runs / "a", runs / "b", "--out", runs / "x.png").returncode == 0
    assert [curve.label for curve in drawn[0][0]] == ["a", "b"]


@pytest.mark.parametrize("names", [("x/run", "y/run"), ("x/lstm", "x/vanilla")])
def test_folders_are_told_apart_from_each_other_and_from_cells(names, runs, drawn):
    folders = [runs / name for name in names]
    for folder in folders:
        shutil.copytree(runs / "b", folder)
    assert run("curves", *folders, "--out", runs / "x.png").returncode == 0
    assert [curve.label for curve in drawn[0][0]] == [*names]


def test_a_run_that_is_named_twice_is_drawn_once(runs, drawn):
    again = runs / "b" / ".." / "a"
    assert run("curves", runs / "a", again, "--out", runs / "x.png").returncode == 0
    assert [curve.label for curve in drawn[0][0]] == ["lstm"]


def test_cells_and_other_options_are_named_together(runs, drawn):
    for name, cell, width in (("a", "lstm", 8), ("b", "lstm", 9), ("c", "min_gru", 8)):
        text = f'task = "adding"\n[options]\ncell = "{cell}"\nhidden = {width}\n'
        (runs / name / "config.toml").write_text(text)
    folders = [runs / name for name in "abc"]
    assert run("curves", *folders, "--out", runs / "x.png").returncode == 0
    labels = [curve.label for curve in drawn[0][0]]
    assert labels == ["LSTM, hidden 8", "LSTM, hidden 9", "minGRU, hidden 8"]


def test_a_run_without_a_line_is_drawn_beside_others_but_not_alone(runs, drawn):
    (runs / "b" / "metrics.jsonl").write_text("")
    assert run("curves", runs / "a", runs / "b", "--out", runs / "x.png").returncode == 0
    assert [len(curve.history) for curve in drawn[0][0]] == [2, 0]
    done = run("curves", runs / "b", "--out", runs / "y.png")
    assert done.returncode == 2
    assert done.stderr.endswith("b holds a run that has not logged anything yet\n")


def test_a_metric_of_runs_without_evaluations_is_refused(runs):
    (runs / "a" / "metrics.jsonl").write_text('{"step": 1, "cost": null}\n')
    done = run("curves", runs / "a", "--metric", "wrong", "--out", runs / "x.png")
    assert done.returncode == 2
    assert "--metric wrong: nothing has been evaluated yet" in done.stderr


def test_another_metric(runs, drawn):
    flags = ("--metric", "wrong", "--out", runs / "x.png")
    assert run("curves", runs / "a", *flags).returncode == 0
    assert (drawn[0][1].name, drawn[0][3]) == ("wrong", {})


def test_a_figure_without_a_suffix_is_a_png(runs):
    done = run("curves", runs / "a", "--out", runs / "new" / "fig")
    assert (done.returncode, done.stdout) == (0, f"the curves are in {runs / 'new' / 'fig.png'}\n")
    assert np.asarray(Image.open(runs / "new" / "fig.png")).std() > 10


def finish(folder, metric, baselines):
    results = {"metric": {"name": metric, "goal": "min", "unit": ""}, "baselines": baselines}
    (folder / "results.json").write_text(json.dumps(results))


def test_baselines_on_which_the_runs_do_not_agree_are_left_out(runs, drawn):
    finish(runs / "a", "mse", {"mean": 0.2, "linear": 0.1, "last": 0.3, "bad": None})
    finish(runs / "b", "mse", {"mean": 0.2, "linear": 0.15})
    done = run("curves", runs / "a", runs / "b", "--out", runs / "x.png")
    assert done.returncode == 0
    assert drawn[0][3] == {"mean": 0.2, "bad": pytest.approx(math.nan, nan_ok=True)}
    assert done.stderr == (
        "the runs do not have the same baselines: left out: linear, last; draw a run by itself to "
        "see its own\n"
    )
    finish(runs / "b", "mae", {"mean": 0.7})  # of another metric, which is not drawn
    run("curves", runs / "a", runs / "b", "--out", runs / "x.png")
    assert [*drawn[1][3]] == ["mean", "linear", "last", "bad"]


def test_baselines_are_left_out_if_a_task_cannot_be_made(runs, drawn):
    text = 'task = "adding"\n[options]\ncell = "gru"\nlength = 1\n'
    (runs / "b" / "config.toml").write_text(text)
    done = run("curves", runs / "a", runs / "b", "--out", runs / "x.png")
    assert (done.returncode, drawn[0][3]) == (0, {})
    assert "left out: mean;" in done.stderr


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"metric": {"nome": 1}, "baselines": {}}',
        '{"metric": {"name": "mse", "goal": "low"}, "baselines": {}}',
    ],
)
def test_results_that_cannot_be_read_are_named(runs, content):
    path = runs / "a" / "results.json"
    path.write_text(content)
    done = run("curves", runs / "a", "--out", runs / "x.png")
    assert done.returncode == 2
    assert done.stderr.startswith(f"rnnjax curves: {path}: expected the metric")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "c"], "different tasks, adding and sine"),
        (["nothing"], "there is no file"),
        (["a", "--metric", "wrnog"], "did you mean 'wrong'"),
        (["a", "--out", "x.unknown"], "is not supported"),
    ],
)
def test_wrong_use(runs, monkeypatch, arguments, said):
    monkeypatch.chdir(runs)
    done = run("curves", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("rnnjax curves: ")
    assert said in done.stderr
