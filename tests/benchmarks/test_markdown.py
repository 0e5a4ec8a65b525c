"""A row is measured, finished and reported; a contestant that is wrong is shown, not timed."""

import json

import jax
import numpy as np
import pytest

from benchmarks.compare import Task, finish, means, measure
from benchmarks.contestants import Contestant, contestants
from benchmarks.markdown import markdown
from benchmarks.problem import Size
from benchmarks.program import Program
from benchmarks.tables import milliseconds, times, untimed

pytestmark = pytest.mark.usefixtures("keep_compiled")


def entry(name, family, median, **more):
    shown = {"name": name, "label": name.title(), "family": family, "status": "timed"}
    return shown | {"median_ms": median} | more


def results():
    ours = entry("native", "rnnjax", 2.0, speedups={"fastest": 1.5, "jax": 4.0})
    broken = {"name": "x", "label": "X", "family": "jax", "status": "error", "reason": "b[0] wrong"}
    rows = [
        {"cell": "lstm", "pass": "train", "size": size, "flops": 1e9}
        | {"entries": [ours | {}, entry("nnx", "jax", 8.0), entry("torch", "torch", 3.0), broken]}
        for size in ("4,3,2,1", "8,3,2,1:ragged")
    ]
    rows[1]["entries"][0]["speedups"] = {"fastest": 6.0, "jax": 1.0}
    versions = {"jax": "1.2", "torch": None}
    place = {"date": "2030-01-02T03:04:05", "cpu": "A CPU", "cores": 2, "device": "cpu"}
    return {
        "environment": place | {"versions": versions},
        "matmul": {"rate": 1e12},
        "absent": {"Haiku": "not installed"},
        "rows": finish(rows, 1e12),
        "means": means(rows),
    }


def test_the_report_reads_what_json_holds():
    text = markdown(json.loads(json.dumps(results()).replace("NaN", "null")))
    assert "A CPU, 2 cores" in text
    assert "float32; jax 1.2. A 2048³ matrix product reaches 1000 GFLOP/s." in text
    assert "| 4,3,2,1 | **2.00** | 8.00 | 3.00 | 1.50× | 4.00× | - | 2.0 |" in text
    assert "| lstm | train | native | 3.00× | 2.00× | - | 8.00× | 2 |" in text  # nnx: 8 ms, 1 ms
    assert "- Haiku: not installed" in text
    assert "- X: error: b[0] wrong (lstm train 4,3,2,1, lstm train 8,3,2,1:ragged)" in text


def test_numbers_have_three_digits():
    shown = [milliseconds(value) for value in (0.1234, 1.234, 12.34, 1234.5)]
    assert shown == ["0.123", "1.23", "12.3", "1234"]
    assert [times(r) for r in (None, float("nan"), 2.0)] == ["-", "-", "2.00×"]


@pytest.mark.parametrize("wrong", [np.nan, 1.0])
def test_who_is_wrong_is_not_timed(wrong):
    def build(problem, which):
        ys = np.full((*problem.xs.shape[:2], problem.size.H), wrong)
        return Program("liar", "jax", lambda: ys, lambda ys: {"ys": ys})

    found, _ = contestants(["sequential"], [])
    with jax.enable_x64(False):
        task = Task("rnn", Size(3, 2, 2, 2), "forward")
        row = measure(task, [*found, Contestant("liar", "Liar", "jax", build)], 0.0)
    assert [e["status"] for e in row["entries"]] == ["timed", "timed", "error"]
    assert row["entries"][0]["speedups"] == {}  # no rival took part
    assert untimed(row)[0].startswith("Liar: error: ys is wrong by")
