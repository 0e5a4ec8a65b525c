"""What a trained net is used for, from the folder of a run to words and numbers."""

from pathlib import Path

import numpy as np
import pytest
from entry_point import run
from PIL import Image

from rnnjax.cli._app import run as run_here
from rnnjax.tasks import sequential_digits, series
from rnnjax.training import load

STEPS = ("--steps", 3, "--quiet")


def here(capsys, *arguments):
    code = run_here([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def trained_here(tmp_path_factory, task, *options):
    out = tmp_path_factory.mktemp(task) / "run"
    assert run_here([str(x) for x in ("train", task, *options, *STEPS, "--out", out)]) == 0
    return out


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "table.csv"
    values = np.sin(np.arange(200) / 3) + 5
    path.write_text("y\n" + "".join(f"{value:.6f}\n" for value in values), "utf-8")
    return path


SERIES = {"window": 10, "horizon": 4, "hidden": 3, "batch_size": 8}


@pytest.fixture(scope="module")
def of_series(tmp_path_factory, table):
    options = [x for name, value in SERIES.items() for x in (f"--{name}", value)]
    options = [str(x).replace("_", "-") for x in options]
    return trained_here(tmp_path_factory, "series", "--csv", table, *options)


@pytest.fixture(scope="module")
def of_digits(tmp_path_factory):
    flags = ("--read", "rows", "--hidden", 4, "--batch-size", 10, "--seeds", 2)
    return trained_here(tmp_path_factory, "digits", *flags)


def test_forecast_is_that_of_the_task_with_the_trained_params(of_series, table):
    task = series(csv=table, **SERIES)
    expected = task.infer["forecast"](load(of_series, task), steps=6)
    done = run("forecast", of_series, "--steps", 6)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose([float(x) for x in done.stdout.split()], expected, rtol=1e-4)


def test_forecast_goes_on_after_a_history(of_series, table, capsys):
    other = table.parent / "other.csv"
    other.write_text("x,z\n" + "9,4.5\n8,4.6\n" * 5, "utf-8")
    task = series(csv=table, **SERIES)
    params = load(of_series, task)
    expected = task.infer["forecast"](params, history=np.array([9.0, 8.0] * 5))
    flags = ("--history", other, "--column", "x")
    code, printed, errors = here(capsys, "forecast", of_series, *flags)
    assert code == 0, errors
    np.testing.assert_allclose([float(x) for x in printed.split()], expected, rtol=1e-4)


def test_classify_names_what_is_in_image_files(of_digits, tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    task = sequential_digits(read="rows", hidden=4, batch_size=10)
    rows = []
    for member in range(2):
        params = load(of_digits, task, member=member)
        ((label, share),) = task.infer["classify"](params, [tmp_path / "x.png"], invert=True)
        flags = ("--invert", "--member", member)
        code, printed, errors = here(capsys, "classify", of_digits, tmp_path / "x.png", *flags)
        assert code == 0, errors
        rows.append(printed.splitlines()[1].split())
        assert rows[-1] == [label, f"{share:.3f}", str(tmp_path / "x.png")]
    assert rows[0] != rows[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("classify", "SERIES", "a"), "cannot classify: it is for rnnjax forecast"),
        (("generate", "DIGITS"), "cannot generate: it is for rnnjax classify"),
        (("forecast", "nowhere"), "nowhere holds no run: expected a folder with a config.toml"),
        (("forecast", "."), ". holds no run"),
        (("classify", "DIGITS", "nowhere.png"), "there is no file nowhere.png"),
        (("classify", "DIGITS", "--member", 2), "member must lie in 0..1"),
        (("classify", "DIGITS"), "expected files to classify, got none"),
        (("classify", "DIGITS", "--file", "x"), "--file is for runs that classify texts"),
        (("forecast", "SERIES", "--history", "nowhere.csv"), "nowhere.csv"),
        (("forecast", "SERIES", "--steps", 0), "--steps"),
    ],
)
def test_wrong_use(arguments, message, of_series, of_digits, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = {"SERIES": of_series, "DIGITS": of_digits}
    code, printed, errors = here(capsys, *(folders.get(it, it) for it in arguments))
    assert code == 2
    assert message in errors
    assert errors.count("\n") == 1
    assert printed == ""


def test_a_run_of_the_wrong_kind_through_the_entry_point(of_series):
    done = run("caption", of_series, Path(__file__))
    assert done.returncode == 2
    assert "holds a run of 'series', which cannot caption" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_its_data_a_run_says_what_is_missing(tmp_path_factory, table, capsys):
    moved = table.parent / "moved.csv"
    moved.write_text(table.read_text("utf-8"), "utf-8")
    flags = ("--csv", moved, "--window", 10, "--horizon", 4, "--hidden", 2)
    out = trained_here(tmp_path_factory, "series", *flags)
    capsys.readouterr()
    moved.unlink()
    code, _, errors = here(capsys, "forecast", out)
    assert code == 2
    assert "moved.csv" in errors
