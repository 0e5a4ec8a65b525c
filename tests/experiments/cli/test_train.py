"""`rnnjax train`: from flags and files to results, and error messages on wrong use."""

import functools
import json
import re
import signal
import subprocess
import time
import tomllib

import jax
import numpy as np
import pytest
from command_line import ENVIRONMENT, command, run, run_main

from rnnjax.experiments._fields import fields_of
from rnnjax.experiments.cli._output import show_results
from rnnjax.experiments.tasks import TASKS, Metric
from rnnjax.experiments.training import Result, Settings, TrainState, read_metrics

TINY = ("--hidden", 4, "--max-length", 5, "--test-length", 30, "--test-size", 50)
XOR = ("--hidden", 2, "--length", 10, "--batch-size", 4, "--test-size", 10)
SHORT = ("--steps", 20, "--evaluate-every", 10, "--log-every", 10)


@pytest.fixture(scope="module", autouse=True)
def _one_task_for_equal_options():
    """So that runs of equal tasks share what they compile, as those of `tiny_task` do."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("adding", "delayed_xor", "parity"):
            kept = TASKS[name]._replace(make=functools.cache(TASKS[name].make))
            patch.setitem(TASKS, name, kept)
        yield


def costs(folder):
    return [(line["step"], line["cost"], line.get("evaluation")) for line in read_metrics(folder)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "run"
    done = run("train", "parity", *TINY, *SHORT, "--out", out)
    assert done.returncode == 0, done.stderr
    return done, out


def test_a_run_says_which_column_it_took(tmp_path, monkeypatch):
    table, rows = tmp_path / "t.csv", "".join(f"{k},{k % 7},x\n" for k in range(200))
    table.write_text("day,load,label\n" + rows, "utf-8")

    def stop(*arguments, **options):
        raise ValueError("enough")

    monkeypatch.setattr("rnnjax.experiments.cli._train.fit", stop)
    options = ("--csv", table, "--window", 4, "--horizon", 2, "--hidden", 1)
    errors = run("train", "series", *options, "--out", tmp_path / "run").stderr.splitlines()
    assert errors[0] == (
        f"column 'load' of {table}, the last with a number in the first row; passed over: 'label' "
        "holds 'x'; --column takes another: 'day'"
    )
    assert errors[1] == (
        f"{table}, column 'load': 200 values from 0 to 6; 140 for training, 20 for "
        "validation, 40 for testing"
    )
    named = run("train", "series", *options, "--column", "day", "--out", tmp_path / "run").stderr
    assert named.startswith(f"{table}, column 'day': 200 values from 0 to 199; 140 for")


def test_a_run_prints_its_result_beside_the_baseline(trained):
    done, out = trained
    final = json.loads((out / "results.json").read_text("utf-8"))["final"]
    lines = done.stdout.splitlines()
    assert lines[0] == "parity: accuracy_30 (higher is better)"
    figures = dict(map(str.strip, line.rsplit(maxsplit=1)) for line in lines[1:6])
    assert figures["trained"] == f"{final['accuracy_30']:.4g}"
    best = json.loads((out / "results.json").read_text("utf-8"))["best"]
    assert f"trained, at its best on the same data (step {best['step']})" in figures
    assert figures["baseline: chance"] == "0.5"
    assert figures["loss"] == f"{final['loss']:.4g}"
    assert str(out) in lines[-1]
    assert "\x1b" not in done.stdout + done.stderr
    weights = 4 * 4 * (1 + 4) + 4 * 4 + (4 * 2 + 2)
    assert done.stderr.splitlines()[0] == (
        f"parity: {weights} weights, 20 steps at a learning rate of 0.01 (cosine), on "
        f"{jax.devices()[0]}"
    )


def test_it_says_on_what_the_best_was_chosen(capsys):
    task = TASKS["delayed_xor"].make(hidden=2)._replace(select=Metric("valid", "max"))
    state = TrainState(None, None, 3, 0)
    show_results(
        task, Result(None, {"accuracy": 0.5}, {"step": 2, "value": 0.25}, [], state, 1, None)
    )
    lines = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert "trained, at its best by valid (step 2)" in lines


def test_the_config_records_options_settings_and_versions(trained):
    config = tomllib.loads((trained[1] / "config.toml").read_text("utf-8"))
    assert config["task"] == "parity"
    assert config["options"] == {
        "cell": "lstm",
        "hidden": 4,
        "layers": 1,
        "max_length": 5,
        "test_length": 30,
        "targets": "every",
        "batch_size": 64,
        "test_size": 50,
    }
    assert config["settings"]["steps"] == 20
    assert config["settings"]["learning_rate"] == TASKS["parity"].make().recipe.learning_rate
    assert config["versions"]["jax"] == jax.__version__


def test_a_run_is_repeated_from_its_config(trained, tmp_path):
    _, first = trained
    done = run("train", "--config", first / "config.toml", "--out", tmp_path / "again", "--quiet")
    assert done.returncode == 0
    assert done.stderr == ""
    assert costs(tmp_path / "again") == costs(first)


@pytest.mark.filterwarnings("default")
def test_a_config_of_a_run_with_more_steps_says_that_it_does_not_repeat_it(tmp_path):
    arguments = ("train", "delayed_xor", *XOR, "--quiet", "--out")
    assert run(*arguments, tmp_path / "run", "--steps", 2)[0] == 0
    longer = run(*arguments, tmp_path / "run", "--steps", 4, "--resume")
    assert (longer.returncode, longer.stderr) == (0, "")
    config = tmp_path / "run" / "config.toml"
    again = ("train", "--config", config, "--quiet", "--out", tmp_path / "again")
    done = run(*again)
    assert done.returncode == 0
    assert done.stderr == (
        f"rnnjax train delayed_xor: warning: {config} is of a run that was given more steps, whose "
        "learning rates were up to 2 at those of a run of 2 steps; this run takes those of its own "
        "length throughout, and does not repeat it bit for bit\n"
    )
    assert costs(tmp_path / "again") != costs(tmp_path / "run")
    assert "extended" not in tomllib.loads((tmp_path / "again" / "config.toml").read_text("utf-8"))
    assert run(*again, "--resume").stderr == ""


def test_resuming_a_finished_run_prints_its_result_again(trained):
    done, out = trained
    code, printed, _ = run("train", "--out", out, "--resume", "--quiet")
    assert code == 0
    assert printed == done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "holds a run already: continue it with --resume"),
        (("--resume", "--steps", 10), "settings.steps was 20, is 10"),
        (("--resume", "--hidden", 5), "options.hidden was 4, is 5"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(trained, arguments, message):
    _, out = trained
    before = costs(out)
    code, _, errors = run("train", "parity", "--out", out, "--quiet", *arguments)
    assert code == 2
    assert message in errors
    assert errors.count("\n") == 1
    assert costs(out) == before


def test_the_folder_of_another_task_is_refused(trained):
    code, _, errors = run("train", "adding", "--out", trained[1], "--resume")
    assert code == 2
    assert "is of the task 'parity', not of 'adding'" in errors


def test_flags_override_the_file(tmp_path):
    file = tmp_path / "plan.toml"
    file.write_text(
        'task = "adding"\n[options]\nlength = 6\nhidden = 3\ncell = "gru"\n'
        "[settings]\nsteps = 4\nlearning_rate = 1\nseeds = 2\n",
        "utf-8",
    )
    out = tmp_path / "run"
    flags = ("--hidden", 2, "--steps", 3, "--test-size", 10, "--quiet", "--flow-every", 3)
    code, printed, errors = run("train", "--config", file, *flags, "--out", out)
    assert code == 0, errors
    config = tomllib.loads((out / "config.toml").read_text("utf-8"))
    assert (config["options"]["hidden"], config["settings"]["steps"]) == (2, 3)
    assert (config["options"]["length"], config["options"]["cell"]) == (6, "gru")
    assert config["settings"]["learning_rate"] == 1.0
    low, high = sorted(read_metrics(out)[-1]["evaluation"]["mse"])
    assert f"({low:.4g} to {high:.4g})" in printed.splitlines()[1]
    assert "lyapunov" in read_metrics(out)[-1]["callbacks"]


def test_a_run_resumes_after_sigterm_as_after_ctrl_c(tmp_path):
    out, steps = tmp_path / "run 1", 400
    slow = ("--log-every", 1, "--checkpoint-every", 1)
    arguments = ("train", "parity", *TINY, "--steps", steps, *slow, "--out", out)
    process = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**ENVIRONMENT, "JAX_ENABLE_X64": "1"},  # as in this process
    )
    try:
        while not read_metrics(out):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert "interrupted after step" in errors
    assert f"continue with: rnnjax train parity --out '{out}' --resume" in errors
    assert "Traceback" not in errors
    assert not (out / "results.json").exists()
    quick = ("--log-every", steps, "--checkpoint-every", steps)
    done = run("train", "parity", "--out", out, "--resume", "--quiet", *quick)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "results.json").read_text("utf-8"))["steps"] == steps
    assert read_metrics(out)[-1]["step"] == steps


def test_nan_stops_with_the_step_and_no_traceback(tmp_path):
    wild = ("--optimizer", "sgd", "--learning-rate", 1e38, "--clip-norm", "inf", "--hidden", 2)
    done = run("train", "adding", "--length", 5, *wild, "--quiet", "--out", tmp_path / "run")
    assert done.returncode == 1
    assert re.match(r"rnnjax train adding: step \d+: .* NaN or Inf", done.stderr)
    assert "There is no checkpoint" in done.stderr
    assert done.stderr.count("\n") == 1
    tame = ("--length", 6, "--steps", 2, "--test-size", 10, "--hidden", 2, "--quiet")
    done = run("train", "adding", *tame, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text("utf-8"))
    assert (config["options"]["length"], config["settings"]["steps"]) == (6, 2)


@pytest.mark.parametrize("value", [float("nan"), [0.5, float("inf")]])
def test_a_final_metric_that_is_not_finite_is_an_error(value, tmp_path, monkeypatch):
    state = TrainState(None, None, np.array(1200), np.array(7))
    result = Result(None, {"mse": value, "wrong": 1.0}, {}, [], state, 1.0, tmp_path)
    monkeypatch.setattr("rnnjax.experiments.cli._train.fit", lambda *_, **__: result)
    code, printed, errors = run("train", "adding", "--length", 5, "--quiet", "--out", tmp_path)
    assert code == 1
    assert re.search(r"^skipped updates, of 1,200 +7$", printed, re.MULTILINE)
    assert errors.startswith("rnnjax train adding: the final mse is not finite")
    assert errors.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_known_before_the_data_are_read(tmp_path):
    (tmp_path / "file").write_text("")
    flags = ("--csv", tmp_path / "nowhere.csv", "--out", tmp_path / "file" / "run")
    code, _, errors = run("train", "series", *flags)
    assert code == 2
    assert f"file/run cannot be written: {tmp_path}/file is a file" in errors


def test_flow_and_tensorboard_options_are_recorded_in_the_config(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    flow = ("--flow-every", 5, "--tensorboard", "--quiet")
    assert run("train", "delayed_xor", *XOR, *SHORT, *flow, "--out", first)[0] == 0
    config = tomllib.loads((first / "config.toml").read_text("utf-8"))
    assert config["run"] == {"flow_every": 5, "tensorboard": True}
    assert run("train", "--config", first, "--quiet", "--out", second)[0] == 0
    assert [line["step"] for line in read_metrics(second) if "callbacks" in line] == [
        *(0, 5, 10, 15, 20)
    ]
    assert (second / "tensorboard").is_dir()
    (second / "checkpoints" / "20.npz").unlink()
    (second / "results.json").unlink()
    changed = ("--resume", "--flow-every", 10, "--no-tensorboard", "--quiet")
    code, _, errors = run("train", "--out", second, *changed)
    assert code == 0, errors
    config = tomllib.loads((second / "config.toml").read_text("utf-8"))
    assert config["run"] == {"flow_every": 10, "tensorboard": False}
    off = ("--flow-every", 0, "--quiet", "--out", tmp_path / "third")
    assert run("train", "--config", first, *off)[0] == 0
    assert not any("callbacks" in line for line in read_metrics(tmp_path / "third"))


@pytest.mark.parametrize(
    "flags",
    [
        ("--cell", "irnn", "--flow-every", 10, "--tensorboard"),
        (
            *("--optimizer", "sgd", "--learning-rate", 1e38, "--clip-norm", "inf"),
            *("--skip-nonfinite", "--log-every", 5),
        ),
    ],
)
def test_nonfinite_metrics_do_not_end_a_run(flags, tmp_path):
    arguments = ("train", "delayed_xor", *XOR, "--steps", 20, *flags, "--out", tmp_path / "run")
    code, shown, errors = run(*arguments)
    assert code == 0, errors
    assert shown.startswith("delayed_xor: accuracy")
    assert read_metrics(tmp_path / "run")[-1]["step"] == 20


def test_wrong_use_through_the_entry_point(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_main("train", "parit")
    assert done.returncode == 2
    assert "did you mean 'parity'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("parity", "--hiden", 3), "there is no option --hiden; did you mean --hidden?"),
        (("parity", "--cell", "lstn"), "did you mean 'lstm'"),
        (("--config", "nowhere.toml"), "there is no file nowhere.toml"),
        (("parity", "--hidden", "x"), "--hidden"),
        (("parity", "--hidden", 0), "hidden must be at least 1"),
        (("parity", "--optimizer", "adamm"), "did you mean 'adam'"),
        (("parity", "--steps", 0), "steps must be at least 1"),
        (("parity", "--warmup", 1.5), "warmup is a probability in [0, 1)"),
        (("parity", "more"), "unexpected extra argument"),
        (("--steps", 3), "expected the name of a task before --steps"),
        (("--resume",), "holds no run to resume: name its task"),
        (("mnist", "--data", "nowhere"), "nowhere"),
        (("series", "--csv", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_wrong_use(arguments, message, tmp_path):
    code, _, errors = run("train", *arguments, *("--out", tmp_path / "run"))
    assert code == 2
    assert message in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("task = parity", "is not TOML"),
        ("", "names no task"),
        ('task = "party"', "did you mean 'parity'"),
        ('task = "parity"\nsetings = 3', "did you mean 'settings'"),
        ('task = "parity"\noptions = 3', "options must be a table"),
        ('task = "parity"\n[options]\nhiden = 3', "did you mean 'hidden'"),
        ('task = "parity"\n[options]\nhidden = "3"', "hidden must be of type int, got '3'"),
        ('task = "parity"\n[options]\nhidden = true', "hidden must be of type int, got True"),
        ('task = "parity"\n[run]\nflow_evry = 3', "did you mean 'flow_every'"),
        ('task = "parity"\nextended = 3', "extended must list tables of two whole numbers, af"),
        ('task = "parity"\n[[extended]]\nafter = "x"\nsteps = 3', "tables of two whole numbers"),
        ('task = "parity"\n[run]\ntensorboard = 1', "tensorboard must be of type bool, got 1"),
        ('task = "parity"\n[settings]\nsteps = 3.5', "steps must be of type int, got 3.5"),
        ('task = "parity"\n[settings]\nskip_nonfinite = 1', "must be of type bool, got 1"),
        ('task = "series"\n[options]\ncsv = 1', "csv must be a path in quotes, got 1"),
    ],
)
def test_errors_in_a_config_file_name_the_file_and_the_problem(content, message, tmp_path):
    file = tmp_path / "plan.toml"
    file.write_text(content, "utf-8")
    code, _, errors = run("train", "--config", file, "--out", tmp_path / "run")
    assert code == 2
    assert message in errors
    assert str(file) in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", TASKS)
def test_help_of_a_task_explains_it_and_every_flag(task, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, shown, _ = run("train", task, "--help")
    assert code == 0
    words = " ".join(shown.replace("│", " ").split())
    first_line = (TASKS[task].make.__doc__ or "").splitlines()[0]
    assert " ".join(first_line.replace("`", "").split()) in words
    for name, field in {**fields_of(TASKS[task].make), **fields_of(Settings)}.items():
        assert f"--{name.replace('_', '-')}" in words
        assert field.help.split()[0] in words
    assert "Returns:" not in words


def test_help_shows_the_defaults_of_recipe_and_factory(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _, shown, _ = run("train", "copying", "--help")
    recipe = TASKS["copying"].make().recipe
    words = " ".join(shown.replace("│", " ").split())
    assert f"Training steps. [default: {recipe.steps}]" in words
    hidden = fields_of(TASKS["copying"].make)["hidden"]
    assert f"{hidden.help} [default: {hidden.default}]" in words


def test_help_shows_the_token_of_unknown_words(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _, shown, _ = run("train", "sentiment", "--help")
    assert "become <unk>." in shown


@pytest.mark.parametrize("task", TASKS)
def test_flags_are_unique(task):
    names = [*fields_of(TASKS[task].make), *fields_of(Settings)]
    names += ["out", "resume", "config", "flow_every", "tensorboard", "quiet", "help"]
    assert len(names) == len(set(names))


def test_the_list_of_tasks_is_complete():
    done = run("tasks")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["task", "kind", "summary", "metric", "source"]
    assert [line.split()[0] for line in lines[1:]] == list(TASKS)
    for line, entry in zip(lines[1:], TASKS.values(), strict=True):
        assert entry.metric
        for said in (entry.kind, entry.summary, entry.metric, entry.source):
            assert said in line
