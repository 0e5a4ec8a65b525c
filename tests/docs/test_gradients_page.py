"""The table of gradients × methods on its page is what the code does."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

import rnnjax
from benchmarks.combinations import CELLS, flags_of, runs, runs_of, transforms
from benchmarks.ways import GRADIENTS, METHODS

PAGE = Path(__file__).parents[2] / "docs" / "gradients_and_methods.md"
TEXT = PAGE.read_text("utf-8")
LINES = re.search(r"<!-- python -m benchmarks combinations -->\n(.*?)\n<!-- end", TEXT, re.DOTALL)
HEADS, _, *ROWS = [[part.strip() for part in line.split(" | ")] for line in LINES[1].split("\n")]
TABLE = {row[0].strip("|` "): dict(zip(HEADS, row, strict=True)) for row in ROWS}
# Of what does not run a vanilla net.
CELL_OF = {"associative()": "min_gru", "online.rflo()": "ctrnn", "reversible()": "unicornn"}


def named(entry):
    """The cells that an entry of the column names."""
    if entry.startswith(("any", "all but")):
        return {*CELLS} - {*entry.removeprefix("all but ").strip("| ").split(", ")}
    return {*entry.strip("| ").split(", ")}


def test_every_gradient_and_method_is_there():
    assert [*TABLE] == [*GRADIENTS, "cells"]
    assert [head.strip("`") for head in HEADS[1 : 1 + len(METHODS)]] == [*METHODS]


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_row_of_a_gradient(name):
    row, gradient = TABLE[name], GRADIENTS[name].value
    cell = CELL_OF.get(name, "vanilla")
    assert ("vanilla" in named(row["cells |"])) == runs(CELLS["vanilla"], gradient)
    assert (row["of xs"] == "yes") == runs_of("xs", CELLS[cell], gradient)
    assert row["lengths, resets, reverse"] == flags_of(CELLS[cell], gradient)
    for method, value in METHODS.items():
        if method != "sequential()":
            served = runs(CELLS[CELL_OF.get(method, cell)], gradient, value)
            assert (row[f"`{method}`"] != "–") == served, method


@pytest.mark.parametrize("name", ["bptt()", "bptt(clip_by_value(1.0))", "online.snap(1)"])
def test_forward_mode(name):
    plain = METHODS["sequential()"]
    found = transforms(CELLS["vanilla"], GRADIENTS[name].value, plain, "jvp")
    assert ("no jvp" not in TABLE[name]["`sequential()`"]) == found


@pytest.mark.usefixtures("eager")
def test_its_code_runs():
    blocks = "".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
    namespace: dict = {}
    exec(blocks.replace("(100,", "(4,").replace(", 50)", ", 2)"), namespace)
    exact, frugal, short, online = (
        namespace[name].w_h for name in ("exact", "frugal", "short", "online")
    )
    np.testing.assert_allclose(frugal, exact, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(short, exact, rtol=1e-11, atol=1e-14)  # 20 is beyond 4
    assert 1e-6 < np.abs(online - exact).max() < np.abs(exact).max()

    def at_once(params):
        xs = namespace["xs"]
        ys = rnnjax.unroll(namespace["cell"], params, xs)[1]
        return ((ys.mean(-1, keepdims=True) - xs[..., :1]) ** 2).sum() / len(xs)

    whole = jax.grad(at_once)(namespace["params"])
    np.testing.assert_allclose(namespace["million"].w_h, whole.w_h, rtol=1e-11, atol=1e-14)
