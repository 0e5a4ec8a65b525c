"""`rnnjax flow`: the gradient flow of a run."""

import json

import numpy as np
from command_line import run
from PIL import Image


def test_a_run_is_drawn_and_one_without_measurements_refused(tmp_path):
    found = {"log10_gradient_norm_lag_0": 0.0, "log10_gradient_norm_lag_1": -1.0, "lyapunov": -2.3}
    found["eigenvalues"] = [[1.0, 0.0]]
    lines = [{"step": k, "cost": 1.0, "callbacks": found} for k in (5, 10)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "new" / "flow.png"
    done = run("flow", tmp_path, "--out", out)
    assert (done.returncode, done.stdout) == (0, f"the gradient flow is in {out}\n")
    assert np.asarray(Image.open(out)).std() > 10
    done = run("flow", tmp_path, "--eigenvalues", "--out", tmp_path / "eigenvalues.png")
    assert done.stdout == f"the eigenvalues are in {tmp_path / 'eigenvalues.png'}\n"
    with Image.open(tmp_path / "eigenvalues.png") as image:
        assert image.info["Title"] == "Eigenvalues of recurrent weights"
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "cost": 1.0}\n')
    done = run("flow", tmp_path, "--out", out)
    assert done.returncode == 2
    assert "no measurements" in done.stderr
    assert "rnnjax train --flow-every N" in done.stderr


def test_it_says_which_of_several_seeds_was_measured(tmp_path):
    found = {"log10_gradient_norm_lag_0": 0.0, "log10_gradient_norm_lag_1": -1.0, "lyapunov": -2.3}
    line = json.dumps({"step": 5, "cost": [1.0, 2.0], "callbacks": found})
    (tmp_path / "metrics.jsonl").write_text(f"{line}\n")
    for seeds, said in (
        (3, "measured on seed 4, the first of the 3 seeds of this run\n"),
        (1, ""),
    ):
        (tmp_path / "config.toml").write_text(f"[settings]\nseed = 4\nseeds = {seeds}\n")
        done = run("flow", tmp_path, "--out", tmp_path / "flow.png")
        assert (done.returncode, done.stderr) == (0, said)
    assert run("flow", tmp_path / "metrics.jsonl", "--out", tmp_path / "x.png").stderr == ""
