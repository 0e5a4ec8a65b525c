"""`rnnjax illustrate`: which cell it shows, with which weights."""

import jax
import numpy as np
import pytest
from command_line import run

import rnnjax
from rnnjax.experiments import training
from rnnjax.experiments.training import TrainedModel

CELL = rnnjax.lstm(5)
PARAMS = CELL.init(jax.random.key(0), 2)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text('task = "parity"\n[options]\ncell = "lstm"\n')
    layers = {"layers": (PARAMS, PARAMS._replace(b=PARAMS.b + 1)), "head": np.zeros((5, 2))}
    model = TrainedModel("parity", layers, {}, {})
    monkeypatch.setattr(training, "load_model", lambda *_, **__: model)
    return tmp_path


def test_a_drawn_cell(tmp_path, eager):
    out = tmp_path / "new" / "page.html"
    done = run("illustrate", "--cell", "vanilla", "--steps", 2, "--hidden", 2, "--out", out)
    assert done == (0, f"the page is in {out}\n", "")
    page = out.read_text("utf-8")
    assert "<title>The vanilla cell, forward and backward</title>" in page
    assert "<code>vanilla(2)</code>" in page
    assert 'max="2"' in page


def test_a_layer_of_a_run(trained, eager):
    out = trained / "page.html"
    done = run("illustrate", "--run", trained, "--layer", 2, "--steps", 1, "--out", out)
    assert done == (0, f"the page is in {out}\n", "")
    page = out.read_text("utf-8")
    assert f"weights: {trained.name}, layer 2 of 2; inputs: seed 0" in page
    assert f'"b_f": [[{float(PARAMS.b[5]) + 1}' in page


def test_pages_of_runs_are_in_their_folders(trained, tmp_path, monkeypatch, eager):
    monkeypatch.chdir(tmp_path)
    shown = ("illustrate", "--run", trained, "--steps", 1)
    for flags, name in [
        ((), "lstm.html"),
        (("--layer", 2), "lstm_layer_2.html"),
        (("--best", "--member", 1), "lstm_best_member_1.html"),
    ]:
        assert run(*shown, *flags) == (0, f"the page is in {trained / name}\n", "")
        assert (trained / name).is_file()
    assert run(*shown).stderr == ""  # the same page once more
    other = run(*shown, "--seed", 1)
    path = trained / "lstm.html"
    assert other.stderr == f"{path} held another page, which is replaced; --out keeps both\n"
    assert "inputs: seed 1" in path.read_text("utf-8")


def test_pages_of_drawn_and_of_saved_cells(tmp_path, monkeypatch, eager):
    monkeypatch.chdir(tmp_path)
    shown = ("illustrate", "--cell", "vanilla", "--steps", 1, "--hidden")
    assert run(*shown, 1) == (0, "the page is in vanilla.html\n", "")
    assert run(*shown, 2).stderr.startswith("vanilla.html held another page, which is replaced")
    cell = rnnjax.vanilla(2)
    (tmp_path / "nets").mkdir()
    for name in ("a", "b"):
        path = tmp_path / "nets" / f"{name}.safetensors"
        rnnjax.save(path, cell, cell.init(jax.random.key(0), 2))
        done = run("illustrate", "--weights", path, "--steps", 1)
        assert done == (0, f"the page is in {path.with_name(f'{name}_vanilla.html')}\n", "")


def test_a_layer_of_a_saved_cell(tmp_path, eager):
    cell = rnnjax.stack(rnnjax.vanilla(2), rnnjax.vanilla(2, "sigmoid"))
    params = cell.init(jax.random.key(0), 2)
    rnnjax.save(tmp_path / "net.safetensors", cell, params)
    shown = ["illustrate", "--weights", tmp_path / "net.safetensors", "--steps", 1]
    done = run(*shown, "--out", tmp_path / "page.html")
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "weights: net.safetensors, layer 1 of 2; inputs: seed 0" in page
    assert f'"b": {np.asarray(params[0].b)[None].tolist()}' in page
    done = run(*shown, "--layer", 2)
    assert done.returncode == 2
    assert "there is no illustration of vanilla(2, 'sigmoid')" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cell", "lru"], "--cell"),
        (["--run", "RUN", "--cell", "gru"], "--run brings its own cell: it cannot be given with"),
        (["--run", "RUN", "--layer", 3], "--layer must be at most 2"),
        (["--steps", 9], "expected a whole number of at least 1 and at most 8, got '9'"),
    ],
)
def test_wrong_use(trained, arguments, message):
    done = run("illustrate", *(trained if each == "RUN" else each for each in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_run_is_illustrated_by_its_cell_or_refused(trained, monkeypatch, eager):
    made = {
        name: getattr(rnnjax, name)(2).init(jax.random.key(0), 2) for name in ("irnn", "indrnn")
    }
    for name, params in made.items():
        (trained / "config.toml").write_text(f'task = "parity"\n[options]\ncell = "{name}"\n')
        model = TrainedModel("parity", params, {}, {})
        monkeypatch.setattr(training, "load_model", lambda *_, model=model, **__: model)
        done = run("illustrate", "--run", trained, "--steps", 1, "--out", trained / "x.html")
        assert done.returncode == (0 if name == "irnn" else 2)
    assert "IRNN, the vanilla cell with ReLU" in (trained / "x.html").read_text("utf-8")
    assert "there is no illustration of its cell, indrnn" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--layer", 2), "--layer needs --run or --weights"),
        (("--best",), "--best needs --run"),
        (("--cell", "gru", "--member", 1), "--member needs --run"),
        (("--weights", "cell.safetensors", "--best"), "--best needs --run"),
    ],
)
def test_options_of_a_run_need_one(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("illustrate", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"rnnjax illustrate: {said}\n"
