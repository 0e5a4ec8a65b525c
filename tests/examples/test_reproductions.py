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


def test_the_lstm_of_1997_in_the_units_of_its_paper(script):
    hochreiter = script("hochreiter_1997")
    params = jax.tree.map(lambda w: 0.5 + 9 * w, hochreiter.start(jax.random.key(0))["lstm"])
    params = params._replace(b=jnp.zeros(12))
    xs = np.random.default_rng(0).standard_normal((6, 2))
    carry, _ = rnnjax.unroll(hochreiter.cell(4), hochreiter.in_its_units(params), jnp.asarray(xs))
    h, s = np.zeros(4), np.zeros(4)
    for x in xs:
        z = x @ np.asarray(params.w_x) + h @ np.asarray(params.w_h) + np.asarray(params.b)
        i, g, o = np.split(1 / (1 + np.exp(-z)), 3)
        s = s + i * (4 * g - 2)
        h = o * (2 / (1 + np.exp(-s)) - 1)
    np.testing.assert_allclose(carry.h, h, rtol=1e-12)
    result = hochreiter.train({"trial": 0}, 60, True)
    assert result["weights"] == 89
    assert 0 <= result["wrong"] <= 16
    assert len(result["curve"]) == 2


def test_a_unitary_net_begins_in_a_state_of_norm_one(script, eager):
    arjovsky = script("arjovsky_2016")
    cell = arjovsky.unitary(arjovsky.SIZES["urnn"])
    params = ManyToOneParams(None, cell.init(jax.random.key(0), 10), None, None)
    h = arjovsky.with_state(params, jax.random.key(1)).layer.carry.h
    for part in (h.real, h.imag):
        assert np.abs(part).max() <= math.sqrt(3 / 256)
    assert float(jnp.sum(jnp.abs(h) ** 2)) == pytest.approx(1, abs=0.15)
    assert arjovsky.memoryless(100) == pytest.approx(0.1733, abs=1e-4)
