"""The tutorials run, and what they print is what they say."""

import os
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import jax
import numpy as np
import pytest
from registries import registries_kept

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
CODE = re.compile(r"^```(?:\{code-cell\} ipython3|python)\n(?::\w[^\n]*\n)*(.*?)\n```", re.M | re.S)


def run(name: str, x64: bool = False) -> dict:
    """Execute the cells and the answers of a tutorial in order, in the precision of its readers.

    Returns its namespace, in which `printed` is all that it printed.
    """
    pyplot = pytest.importorskip("matplotlib.pyplot")
    text = (FOLDER / f"{name}.md").read_text("utf-8")
    page: dict = {"__name__": "page"}
    printed, folder = StringIO(), Path.cwd()
    os.chdir(FOLDER)
    try:
        with (
            pyplot.rc_context({"backend": "agg"}),
            jax.enable_x64(x64),
            jax.numpy_rank_promotion("allow"),
            redirect_stdout(printed),
        ):
            for count, code in enumerate(CODE.findall(text)):
                code = code.removeprefix("%matplotlib inline\n")  # any other is a SyntaxError
                exec(compile(code, f"{name}.md, block {count}", "exec"), page)
    finally:
        os.chdir(folder)
        pyplot.close("all")
    return page | {"printed": printed.getvalue()}


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    """Forget the cells that a tutorial registered, and what it compiled."""
    with registries_kept():
        yield


def test_jupyter_opens_them():
    """A notebook's kernel has both names, without which jupytext cannot make one of a page."""
    texts = {page.name: page.read_text("utf-8") for page in FOLDER.glob("*.md")}
    heads = {name: text.split("---\n")[1] for name, text in texts.items() if "{code-cell}" in text}
    assert len(heads) >= 8
    kernel = "kernelspec:\n  name: python3\n  display_name: Python 3\n"
    assert [name for name, head in heads.items() if kernel not in head] == []


def test_recurrent_nets_in_one_hour():
    page = run("recurrent_nets_in_one_hour")
    assert "mistakes in 20,000 bits: 0\n" in page["printed"]
    assert page["printed"].endswith("mistakes: 0\n")
    for a, b in zip(page["by_hand"], page["by_jax"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert page["report"].passed
    wrong = [row.leaf for row in page["broken_report"].rows if not row.passed]
    assert wrong == ["params.w_x", "params.w_h", "params.b", "xs", "carry.h"]
    for each in page["correct"].values():
        assert np.all(each[:, :10] > 0.95)  # all nets solve ten bits
    assert np.min(page["correct"]["LSTM"][:, -1]) > 0.9
    assert np.min(page["correct"]["tanh"][:, -100:].mean(-1)) < 0.7
    rates = {name: page["flow"].verdict(page[name]).rate for name in ("vanishing", "exploding")}
    assert rates["vanishing"] > 0.5
    assert rates["exploding"] < -0.1
    assert page["flow"].verdict(page["constant"]).label == "constant"
    assert 3 < page["flow"].verdict(page["by_one"]).half_life < 5
    assert -40 < page["flow"].verdict(page["by_three"]).half_life < -15
    np.testing.assert_allclose(page["cosines"]["norm clipped"], 1, rtol=1e-5)
    assert page["cosines"]["clipped in the loop"] < 0.9


def test_your_own_cell_and_rule():
    page = run("your_own_cell_and_rule")
    assert "the slow layer moves at the steps 0 and 8 16\n" in page["printed"]
    assert "norms of outputs: 1.0\n" in page["printed"]
    assert page["refused"].startswith("the step of this cell was replaced")
    assert not page["first_report"].passed
    assert all(row.passed for row in page["first_report"].values)
    assert page["report"].passed
    assert "rule=None" in page["no_rule"]
    assert "Structure(output='h')" in page["unknown"]
    assert page["clipped"].w_h.shape == (8, 8)
    found = page["half_lives"]
    np.testing.assert_allclose(found["W_h = 0"], np.log(2) / -np.log(0.8), rtol=1e-4)
    assert found["as drawn"] > 2 * found["W_h = 0"]
    assert "leaky(8, 0.2) True True\n" in page["printed"]


def test_lengths_resets_and_carries():
    page = run("lengths_resets_and_carries")
    shown = [line.split() for line in page["printed"].splitlines()]
    # With lengths; flipped by hand; with resets and by shifted `done`; in chunks; with gaps.
    outputs = [" ".join(line[2:]) for line in shown if line[0] == "outputs"]
    assert outputs[2:4] == ["00001 00011 00111 01111 11111", "00001 00011 00111 00000 00000"]
    assert outputs[4:6] == ["11111 11110 11100 11000 10000", "00111 00110 00100 00000 00000"]
    assert outputs[6:8] == ["00001 00011 00100 01100 11100", "00001 00011 00111 01000 11000"]
    assert outputs[8:10] == ["00001 00011 00100 01100 11100", "00001 00010 00110 01110 11110"]
    assert outputs[10:] == ["00001 00001 00101 00101 10101", "00000 00010 00110 00110 10110"]
    assert page["summary"].tolist() == [[11111, 11111], [111, 111]]
    assert page["grads"][:, 1, 0].tolist() == [3, 2, 1, 0, 0]
    np.testing.assert_allclose(page["masked"], page["by_hand"])
    assert page["across"].tolist() == [0, 0, 1, 1, 1]
    assert "same as unroll: True\n" in page["printed"]
    assert "same as in one piece: True\n" in page["printed"]
    for name, close in {"uncut": "full", "cut": "truncated", "skipped": "shorter"}.items():
        for a, b in zip(page[name], page[close], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert np.abs(page["truncated"].w_h - page["full"].w_h).max() > 0.1
    assert np.abs(page["zeroed"].c - page["shorter"].c).max() > 0.1


def test_training_loop():
    page = run("training_loop")
    np.testing.assert_allclose(page["chance"], 1 / 6, atol=0.005)
    assert page["error"] < 0.02
    assert page["same"]
    exact, frugal, short = page["by_gradient"].values()
    np.testing.assert_allclose(frugal, exact, rtol=1e-4)
    assert abs(short / exact - 1) > 0.05
    assert page["again"] == page["cell"]


def test_reading_gradient_flow():
    page = run("reading_gradient_flow")
    losses, verdicts = page["losses"], page["verdicts"]
    learned = {name: int((each < 0.35).sum()) for name, each in losses.items()}
    assert 1 <= learned["tanh, uniform"] <= 3
    assert 3 <= learned["tanh, orthogonal"] <= 7
    assert learned["LSTM, forget bias 1"] == 0
    assert learned["LSTM, forget bias 3"] >= 8
    opened = page["ratios"]  # along the run of the uniform net that learns
    assert opened[0] < -15
    assert max(opened.values()) > -6
    assert opened[199] < -15
    ratios = {name: found.log10_ratio for name, found in verdicts.items()}
    assert ratios["tanh, uniform"] < -15
    assert -6 < ratios["tanh, orthogonal"] < -4
    assert -8 < ratios["LSTM, forget bias 1"] < -6
    assert ratios["LSTM, forget bias 3"] > -2
    assert page["at_first"] > 1
    assert "reads 80 steps" in page["refused"]
    assert page["slopes"]["tanh, uniform"] > page["slopes"]["tanh, orthogonal"]
    for name, found in page["exponents"].items():
        np.testing.assert_allclose(found, -verdicts[name].rate, atol=0.02)
    largest = [found.logs[-1, 0, 0] for found in page["spectra"].values()]
    assert largest[0] < largest[1] - 10
    bias_1, bias_3 = page["carousel"].values()
    assert bias_1[-41] < 0.05 < bias_3[-41]
    assert page["after"].log10_ratio < page["before"].log10_ratio - 2


def test_choosing_gradient_and_method():
    page = run("choosing_gradient_and_method")
    memory = page["memory"]
    for name, growth in {"autodiff()": 100, "bptt()": 100, "truncated(100)": 90}.items():
        np.testing.assert_allclose(memory[name][1] / memory[name][0], growth, rtol=0.05)
    assert memory["checkpointed()"][1] < memory["bptt()"][1] / 50
    assert memory["checkpointed(levels=2)"][1] < memory["checkpointed()"][1] / 2
    assert max(page["differences"]) < 1e-5
    assert 0.2 < page["errors"]["truncated_window"].relative < page["errors"]["truncated"].relative
    bias_1, longer_1, bias_2, longer_2 = page["needed"].values()
    assert 20 < bias_1.length <= longer_1.length < 35
    assert bias_1.decay < 0.95
    assert longer_1.decay < 0.95
    assert bias_2.length > 0.75 * 60
    assert longer_2.length > 0.75 * 120
    assert min(bias_2.decay, longer_2.decay) >= 1
    rtrl, snap, uoro = page["stream"].values()
    assert rtrl.relative < 1e-5
    assert snap.bias > 0.1
    assert uoro.bias < 1.5 * uoro.noise < uoro.relative
    np.testing.assert_allclose(page["at_once"], page["in_turn"], rtol=1e-4, atol=1e-5)
    calm, wild = page["exponents"].values()
    assert calm < -0.01
    assert wild > 0.03


def test_fast_on_cpu_and_gpu():
    page = run("fast_on_cpu_and_gpu")
    for explained in page["explained"].values():  # neither has a kernel, on any machine
        refusals = {method.name: refusal for method, refusal in explained.considered}
        assert refusals["native"]
        assert refusals["sequential"] is None
    assert [*page["counts"].values()] == [1, 4, 0, 2]
    assert page["reused"] == {(): 0, (0,): page["size"]}
    floors = {tuple(map(int, name.split(",")[:4])): f for name, f in page["floors"].items()}
    assert len(floors) == 8
    assert floors[1000, 1, 32, 64] > 2 * floors[100, 16, 1024, 1024]
    assert "associative() no: " in page["printed"]  # a column wide enough for every name
    assert {leaf.dtype for leaf in page["mixed"]} == {np.dtype("float32")}
    assert all(1e-4 < off < 0.02 for off in page["off"].values())
    digits = page["digits"].errors
    assert np.median(digits["float32"]) < 1e-5 < 1e-3 < np.median(digits["bfloat16"])


def test_reproducing_a_figure():
    page = run("reproducing_a_figure", x64=True)
    np.testing.assert_allclose(page["value"], page["want"], rtol=1e-10)
    np.testing.assert_allclose(page["slope"][0], page["difference"], rtol=1e-6)
    np.testing.assert_allclose(page["found"], page["factor"] ** 49, rtol=1e-9)
    np.testing.assert_array_equal(sorted(map(bool, page["points"].stable)), [False, True, True])
    assert page["longest"]["without clipping"] > 1000
    np.testing.assert_allclose(page["longest"]["clipped"], 0.05, rtol=1e-6)
    assert page["ends"]["clipped"] < 0.01 < page["ends"]["without clipping"]
    assert 0.4 < page["thrown"]["without clipping"] < 0.5
    assert page["thrown"]["clipped"] == 0
    assert page["solved"]["clipped"] > 1.5 * page["solved"]["without clipping"]
    assert page["apart"][0] < 1e-6 < 1 < page["apart"][-1]  # float32 leaves at the wall
