"""`rnnjax compare`, `doctor` and what all commands share."""

import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from command_line import ENVIRONMENT, run, run_main, run_process

import rnnjax
from rnnjax import flow
from rnnjax.experiments import cli
from rnnjax.experiments.cli import _compare, _streams
from rnnjax.experiments.report import _figures, _style
from rnnjax.methods import AVAILABILITY

STEMS = ("gradient_norms", "learning_curves", "sensitivity", "singular_values")
TINY = ("--quick", "--steps", 50, "--hidden", 6)


def metrics(folder):
    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    return json.loads((folder / "metrics.json").read_text("utf-8"), parse_constant=refuse)


def numbers(folder):
    """All results except times."""
    results = metrics(folder)["results"]
    for result in results.values():
        del result["milliseconds"]
    return results


@pytest.fixture(scope="module", autouse=True)
def _coarse_figures():
    """Figures of few pixels: nothing here looks at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(_style._RC, "savefig.dpi", 60)
        yield


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("compare")
    done = run("compare", *TINY, "--cells", "identity_rnn,gru", "--out", out)
    assert done.returncode == 0, done.stderr
    return done, out


def test_compare_prints_a_table_and_writes_a_folder(quick_run):
    done, out = quick_run
    assert "identity" in done.stdout
    assert "GRU" in done.stdout
    assert "constant" in done.stdout
    content = metrics(out)
    assert content["complete"] is True
    assert content["cells"] == ["identity_rnn", "gru"]
    assert content["settings"]["hidden"] == 6
    assert content["settings"]["steps"] == 50
    assert content["jax"] == jax.__version__
    assert content["peak_learning_rates"] == {"identity_rnn": 0.01, "gru": 0.01}
    assert content["initial_recurrent_weights"]["gru"] == "orthogonal"
    identity = content["results"]["identity_rnn"]
    assert identity["before"]["verdict"]["half_life"] == "inf"
    assert identity["before"]["verdict"]["log10_ratio"] == 0
    assert content["options"]["batch_size"] == 64
    gru = content["results"]["gru"]
    assert len(gru["cost"][0]) * gru["cost_every"] == 50
    stems = (*STEMS, "error_paths")  # of the GRU
    figures = {f"{stem}.{suffix}" for stem in stems for suffix in ("png", "pdf")}
    assert set(os.listdir(out)) == {"metrics.json", *figures}
    for stem in stems:
        assert (out / f"{stem}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert (out / f"{stem}.pdf").read_bytes()[:5] == b"%PDF-"


def draw_norms_alone(monkeypatch):
    for slow in ("singular_values", "sensitivity", "learning_curves", "error_paths"):
        monkeypatch.setattr(_figures, slow, lambda results: None)


def test_compare_on_another_task_continues_after_a_cell_diverges(tmp_path, monkeypatch):
    measure = _compare.train_and_measure

    def diverging(name, *rest):
        if name == "vanilla":
            raise FloatingPointError(
                "step 3: the cost holds NaN or Inf (cost nan). Lower clip_norm"
            )
        return measure(name, *rest)

    monkeypatch.setattr(_compare, "train_and_measure", diverging)
    nothing = flow.SingularValues(np.zeros(1), np.zeros((1, 2)))  # a second to compile
    monkeypatch.setattr(flow, "log_singular_values", lambda jacobians: nothing)
    draw_norms_alone(monkeypatch)
    plan, out = tmp_path / "plan.toml", tmp_path / "out"
    plan.write_text('task = "temporal_order"\n[options]\nlength = 20\nlayers = 1\ntest_size = 10\n')
    flags = ("--task", "temporal_order", "--config", plan, "--cells", "vanilla,irnn")
    flags += ("--steps", 20, "--hidden", 4, "--gradient", "autodiff")
    code, printed, errors = run("compare", *flags, "--out", out)
    assert code == 1
    line = "vanilla (tanh): diverged: step 3: the cost holds NaN or Inf (cost nan)"
    assert errors == f"rnnjax compare: {line}\n"
    assert "accuracy" in printed
    assert "│ IRNN" in printed
    assert "vanilla (tanh)" not in printed
    content = metrics(out)
    assert content["complete"] is False
    assert list(content["results"]) == ["irnn"]
    assert list(content["diverged"]) == ["vanilla"]
    assert content["task"] == "temporal_order"
    assert content["settings"]["gradient"] == "autodiff"
    assert content["peak_learning_rates"] == {
        "vanilla": pytest.approx(3e-3),
        "irnn": pytest.approx(3e-4),  # a tenth of the recipe's
    }
    result = content["results"]["irnn"]
    assert result["accuracy"] == result["curve"][0][-1:]
    assert len(result["before"]["sensitivity"]) == 20
    assert {path.stem for path in out.glob("*.p*")} == {"gradient_norms"}


def test_a_comparison_leaves_no_figures_of_an_earlier_one(tmp_path, monkeypatch):
    def diverging(*_):
        raise FloatingPointError("step 3: the cost holds NaN. Lower clip_norm")

    monkeypatch.setattr(_compare, "train_and_measure", diverging)
    stale = {f"{stem}.{suffix}" for stem in (*STEMS, "error_paths") for suffix in ("png", "pdf")}
    for name in (*stale, "metrics.json", "own.png"):
        (tmp_path / name).write_text("{}")
    assert run("compare", *TINY, "--cells", "gru", "--out", tmp_path).returncode == 1
    assert list(metrics(tmp_path)["diverged"]) == ["gru"]
    assert set(os.listdir(tmp_path)) == {"metrics.json", "own.png"}


def test_an_error_during_training_is_one_line(tmp_path, monkeypatch):
    def refusing(*_):
        raise ValueError("no such thing")

    monkeypatch.setattr(_compare, "train_and_measure", refusing)
    done = run("compare", "--task", "delayed_xor", "--out", tmp_path)
    assert (done.returncode, done.stderr) == (2, "rnnjax compare: no such thing\n")


def test_a_scheduler_that_ends_the_comparison_is_told_so(tmp_path, monkeypatch):
    def ended(name, task, settings, advance):
        signal.raise_signal(signal.SIGTERM)
        advance(1)

    monkeypatch.setattr(_compare, "train_and_measure", ended)
    done = run("compare", *TINY, "--cells", "gru,lstm", "--out", tmp_path)
    assert done.returncode == 143
    assert done.stderr == "interrupted; not finished: gru, lstm\n"


def test_ctrl_c_keeps_the_finished_cells_with_the_numbers_of_their_seed(
    quick_run, tmp_path, monkeypatch
):
    measure = _compare.train_and_measure

    def pressing(name, task, settings, advance):
        if name == "lstm":
            signal.raise_signal(signal.SIGINT)
            advance(1)
        return measure(name, task, settings, advance)

    monkeypatch.setattr(_compare, "train_and_measure", pressing)
    draw_norms_alone(monkeypatch)
    code, output, errors = run("compare", *TINY, "--cells", "gru,lstm", "--out", tmp_path)
    assert code == 130
    assert errors == "interrupted; not finished: lstm\n"
    assert "GRU" in output
    content = metrics(tmp_path)
    assert content["complete"] is False
    assert list(content["results"]) == ["gru"]
    assert numbers(tmp_path)["gru"] == numbers(quick_run[1])["gru"]
    assert (tmp_path / "gradient_norms.png").exists()
    assert not list(tmp_path.glob("*.partial*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cells", "lstn"), "did you mean 'lstm'"),
        (("--cells", ""), "must be one of"),
        (("--gradient", "autodif"), "did you mean 'autodiff'"),
        (("--hidden", "0"), "hidden"),
        (("--steps", "none"), "steps"),
        (("--speed", "9"), "there is no option --speed"),
        (("--task", "digit"), "did you mean 'digits'"),
        (("--task", "parity", "--config", "nowhere.toml"), "there is no file nowhere.toml"),
    ],
)
def test_wrong_options_suggest_the_right_ones(arguments, message, tmp_path):
    done = run("compare", *arguments, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[settings]\nsteps = 5", "compare takes no [settings], got steps: leave the table out"),
        (
            "[options]\nlayers = 2",
            "no layers, got 2: leave it out; it compares one unidirectional",
        ),
        ("[options]\ncell = 'gru'", "no cell, got 'gru': leave it out; use --cells"),
        ("[options]\nhidden = 5", "no hidden, got 5: leave it out; use --hidden"),
    ],
)
def test_a_config_with_options_that_compare_fixes_is_refused(table, message, tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text(f'task = "parity"\n{table}\n')
    out = tmp_path / "out"
    done = run("compare", "--task", "parity", "--config", plan, "--out", out)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("task", ["language", "mnist"])
def test_a_task_without_its_data_explains_how_to_pass_them(task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("compare", "--task", task, "--out", "out")
    assert done.returncode == 2
    assert "the data with --config FILE, a TOML file with a line task = " in done.stderr


def test_train_alone_prints_its_help_and_nothing_else():
    code, printed, errors = run("train")
    assert code == 2
    assert "rnnjax train [OPTIONS] COMMAND" in printed + errors
    assert "rnnjax train:" not in printed + errors


def test_the_help_explains_how_to_get_a_traceback():
    done = run()
    assert done.returncode == 0
    assert "RNNJAX_TRACEBACK" in done.stdout


@pytest.mark.parametrize("inside", ["", "deeper"])
def test_out_that_is_a_file_fails_before_training(inside, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    done = run("compare", "--out", taken / inside)
    assert done.returncode == 2
    assert "cannot write to --out" in done.stderr
    assert taken.read_text() == "mine"


def test_doctor_lists_versions_and_methods(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setitem(AVAILABILITY, "cudnn", lambda: "pip install 'jax[cuda12]'")
    done = run("doctor")
    assert done.returncode == 0, done.stderr
    known = (rnnjax.__version__, jax.__version__, "sequential()", "available", "cpu")
    for expected in (*known, "pip install 'jax[cuda12]'"):
        assert expected in done.stdout


def test_version_and_help():
    assert run_process("--version").stdout.strip() == f"rnnjax {rnnjax.__version__}"
    shown = run("compare", "--help").stdout
    for option in ("--cells", "--hidden", "--steps", "--seeds", "--seed", "--out", "--quick"):
        assert option in shown


def test_importing_the_library_loads_no_extra_and_changes_no_configuration():
    program = """
import sys, jax
before = {name: jax.config.values[name] for name in jax.config.values}
import rnnjax
extras = {"matplotlib", "typer", "rich", "sklearn", "torch", "flax", "optax"} & set(sys.modules)
assert not extras, extras
assert before == {name: jax.config.values[name] for name in before}
assert {"experiments", "tasks", "training"} <= set(dir(rnnjax)), dir(rnnjax)
assert "parity" in rnnjax.tasks.TASKS and callable(rnnjax.training.fit)
assert rnnjax.experiments.data.Column and rnnjax.experiments.tasks.TASKS is rnnjax.tasks.TASKS
from rnnjax.tasks import parity
from rnnjax.training import fit
assert fit is rnnjax.experiments.training.fit
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["typer", "rich", "matplotlib", "sklearn"])
def test_a_missing_extra_is_named_with_its_install_command(package, tmp_path, monkeypatch):
    for module in [name for name in sys.modules if name.startswith(f"{cli.__name__}._")]:
        if module != _streams.__name__:
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    done = run_main("compare", "--out", tmp_path / "out")
    assert done.returncode != 0
    assert package in done.stderr
    assert "pip install 'rnnjax[cli,tasks]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out" / "metrics.json").exists()
