"""The code on the pages of docs/how_to does what they say.

That on many devices is run by tests/methods/on_four_devices.py.
"""

from functools import cache

import jax
import numpy as np
import pytest
from test_pages import run_page

import rnnjax
from rnnjax.experiments.training import read_config


def test_your_own_task():
    shorter = {
        "steps=400": "steps=2",
        "callbacks=[flow_callback(100)], ": "",
        "steps=10,": "steps=4,",
    }
    page = run_page("docs/how_to/your_task.md", shorter)
    assert page["result"].history[-1]["step"] == 2
    assert 0 <= page["result"].metrics["accuracy"] <= 1
    assert page["early"].stopped == "solved"
    assert page["early"].metrics == {"accuracy": 1.0}
    task, params = page["task"], page["params"]
    first, again = (task.batches(1)[3] for _ in range(2))
    np.testing.assert_array_equal(first.xs, again.xs)
    np.testing.assert_array_equal(first.xs[0].argmax(-1), first.targets)
    net = task.recurrence(params, task.batches(0)[0])
    last, ys = rnnjax.unroll(net.cell, net.params, net.xs)
    np.testing.assert_allclose(net.cost(last, ys), 32 * page["cost"], rtol=1e-12)


@pytest.mark.usefixtures("eager")
def test_your_own_data():
    page = run_page("docs/how_to/your_data.md")
    xs, valid, targets = page["xs"], page["valid"], page["targets"]
    assert xs.shape == (max(valid) if max(valid) in page["sizes"] else len(xs), 16, 3)
    for b in range(16):
        assert int(xs[: valid[b], b].sum() > 0) == targets[b]
        np.testing.assert_allclose(page["last"][b], page["ys"][valid[b] - 1, b], rtol=1e-12)


def test_streams():
    page = run_page("docs/how_to/streams.md", {"range(3000)": "range(60)", "100": "20"})
    assert 0.3 < page["early"] < 1.2
    assert page["state"].age.shape == (8,)

    def cost(encoder):
        x_t = page["seen"] @ encoder
        y_t = page["cell"].step(page["params"]["cell"], page["before"], x_t)[1]
        return page["loss"](page["params"]["head"], y_t, page["target"])

    want = jax.grad(cost)(page["encoder"])
    np.testing.assert_allclose(page["encoder_ct"], want, rtol=1e-4, atol=1e-7)
    whole, weights = page["whole"], page["weights"]
    first = whole.initial_carry(weights, (8,))
    want = jax.grad(lambda w: whole.step(w, first, page["seen"])[1].sum())(weights)["encoder"]
    np.testing.assert_allclose(page["encoder_ct_too"], want, rtol=1e-4, atol=1e-7)


def test_memory():
    page = run_page("docs/how_to/memory.md")
    assert page["frugal"] < 0.5 * page["whole"]
    assert np.isfinite(float(page["value"]))


def test_reproducing_and_resuming(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # One task for both pages, so that they share what is compiled.
    monkeypatch.setattr(rnnjax.tasks, "delayed_xor", cache(rnnjax.tasks.delayed_xor))
    run_page("docs/how_to/reproducibility.md")  # which compares two runs to the last bit
    page = run_page("docs/how_to/resume.md")  # and one that was interrupted with one that was not
    assert read_config(tmp_path / "runs" / "xor")["settings"]["steps"] == 6
    assert page["resumed"].history[-1]["step"] == 6
    jax.tree.map(np.testing.assert_array_equal, page["params"], page["whole"].params)
    once, more = page["train_step"](page["state"]), page["train_step"](page["again"])
    assert int(once["step"]) == int(more["step"]) == 3
    jax.tree.map(np.testing.assert_array_equal, once, more)
