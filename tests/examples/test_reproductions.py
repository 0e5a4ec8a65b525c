"""The reproductions of papers in their short form, and what each takes from its paper."""

import importlib
import json
import math
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import rnnjax
from rnnjax.experiments.tasks import Sequences
from rnnjax.scenarios import ManyToOneParams

SCRIPTS = Path(__file__).parents[2] / "examples" / "reproductions"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module


def test_the_command_trains_what_is_missing_draws_it_and_tells_the_table(
    script, tmp_path, monkeypatch, capsys
):
    le, runs = script("le_2015"), script("runs")
    paper = runs.Paper("le", lambda *given: le.runs(*given)[-1:], le.train, le.draw, le.table)
    flags = ["--short", "--jobs", "1", "--seeds", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["le_2015.py", *flags])
    runs.main(paper, le.__doc__)
    (line,) = (json.loads(line) for line in (tmp_path / "le.jsonl").read_text().splitlines())
    assert line.items() >= {"cell": "vanilla", "length": 10, "seed": 0, "updates": 2}.items()
    assert [row[0] for row in line["curve"]] == [1, 2]
    assert line["curve"][-1][2] == line["scores"]["mse"] > 0.01
    assert "| vanilla | 0 of 1 | at the baseline from T = 150 |" in capsys.readouterr().out
    assert np.asarray(Image.open(tmp_path / "le.png")).std() > 10
    runs.main(paper._replace(train=None), le.__doc__)  # nothing is missing


def test_omega_comes_on_top_of_the_cost(script):
    pascanu = script("pascanu_2013")
    run = {"way": "SGD, clipped, with Ω", "length": 20, "seed": 0}
    curve = pascanu.train(run, 60, True)["curve"]
    assert 0.01 < curve[0][1] - math.log(4) < 0.1  # 2 (0.9 - 1)², by and large


def test_smart_tanh_begins_where_the_authors_do(script, eager):
    layer = rnnjax.vanilla(50).init(jax.random.key(0), 6)
    net = ManyToOneParams(None, layer, None, {"bias": jnp.ones(4)})
    found = script("pascanu_2013").smart_tanh(net, jax.random.key(1))
    assert np.all(np.sum(np.asarray(found.layer.w_h) != 0, axis=1) == 15)
    radius = np.abs(np.linalg.eigvals(np.asarray(found.layer.w_h))).max()
    np.testing.assert_allclose(radius, 0.95, rtol=1e-6)
    assert not np.any(found.head["bias"])


def test_the_net_of_1997_and_its_truncated_gradient_are_those_of_the_paper(script, eager):
    hochreiter = script("hochreiter_1997")
    params = jax.tree.map(lambda w: 5 * w.astype(float), hochreiter.start(jax.random.key(0)))
    params["hidden"] = params["hidden"]._replace(b=jnp.linspace(-1.0, 1.0, 8))
    xs = np.random.default_rng(0).standard_normal((6, 2))
    batch = Sequences(jnp.asarray(xs)[:, None], jnp.array([[0.3]]), jnp.array([5]))

    def cost(params):
        return jnp.sum(hochreiter.answers("logistic", params, batch) - 0.3) ** 2 / 2

    found = jax.grad(cost)(params)
    hidden, head = gradient_of_1997(params, xs[:5], 0.3)
    np.testing.assert_allclose(found["head"], head, rtol=1e-12)
    rows = np.concatenate([found["hidden"].w_x, found["hidden"].w_y, found["hidden"].b[None]])
    np.testing.assert_allclose(rows, hidden, rtol=1e-11)


def gradient_of_1997(params, xs, target):
    """The paper's appendix A.1, forward in time: by the weights from x, from y and from 1."""
    (w_x, w_y, b), head = jax.tree.map(np.asarray, (params["hidden"], params["head"]))
    s, y, block = np.zeros(4), np.zeros(8), [0, 0, 1, 1]
    ds_c, ds_in = np.zeros((4, 11)), np.zeros((4, 11))
    h, y_out, source = s, s, np.zeros(11)
    for x in xs:
        source = np.concatenate([x, y, [1]])
        f = 1 / (1 + np.exp(-(x @ w_x + y @ w_y + b)))
        g, y_in, y_out = 4 * f[:4] - 2, f[4:6][block], f[6:][block]
        ds_in += np.outer(g * y_in * (1 - y_in), source)  # equation 25
        ds_c += np.outer(4 * f[:4] * (1 - f[:4]) * y_in, source)  # equation 27
        s = s + y_in * g
        h = 2 / (1 + np.exp(-s)) - 1
        y = np.concatenate([y_out * h, f[4:]])
    answer = 1 / (1 + np.exp(-(head[:4] @ y[:4] + head[4])))
    e_k = (answer - target) * answer * (1 - answer)  # equation 19
    e_out = y_out * (1 - y_out) * h * head[:4] * e_k  # equation 21, of each cell
    e_s = y_out * (1 - h**2) / 2 * head[:4] * e_k  # equation 23
    gates = e_s[:, None] * ds_in, np.outer(e_out, source)
    by_block = [rows.reshape(2, 2, 11).sum(1) for rows in gates]
    return np.concatenate([e_s[:, None] * ds_c, *by_block]).T, e_k * np.append(y[:4], 1)


def test_trials_of_1997_in_short(script, monkeypatch):
    hochreiter = script("hochreiter_1997")
    monkeypatch.setattr(hochreiter, "IN_A_ROW", 3)
    monkeypatch.setattr(hochreiter, "TOLERANCE", 9.0)  # every answer counts as right
    result = hochreiter.train({"output": "linear", "trials": 2}, 60, True)
    assert result["weights"] == 93
    assert result["solved_at"] == [4, 4]
    assert result["curve"] == [[2, 0, 0], [4, 0, 0]]
    assert "| 2 of 2 | 4 | 0.00 %" in hochreiter.table([{"output": "", "trials": 2, **result}])


def test_a_unitary_net_begins_in_a_state_of_norm_one(script, eager):
    arjovsky = script("arjovsky_2016")
    cell = arjovsky.unitary(arjovsky.SIZES["urnn"])
    params = ManyToOneParams(None, cell.init(jax.random.key(0), 10), None, None)
    h = arjovsky.with_state(params, jax.random.key(1)).layer.carry.h
    for part in (h.real, h.imag):
        assert np.abs(part).max() <= math.sqrt(3 / 256)
    assert float(jnp.sum(jnp.abs(h) ** 2)) == pytest.approx(1, abs=0.15)
    assert arjovsky.memoryless(100) == pytest.approx(0.1733, abs=1e-4)
