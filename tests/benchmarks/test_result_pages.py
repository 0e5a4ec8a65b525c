"""Every command's JSON becomes a table; the parts of a train step add up to its operations."""

import pytest

from benchmarks.pages import page
from benchmarks.parts import measure_parts
from benchmarks.problem import Size, flops

pytestmark = pytest.mark.usefixtures("keep_compiled")

PLACE = {"date": "2030-01-02T03:04:05", "cpu": "A CPU", "cores": 2, "device": "cpu"} | {
    "versions": {"jax": "1.2"}
}


def written(what, **results):
    return {"what": what, "environment": PLACE, **results}


def test_memory_has_a_column_for_each_program():
    entries = [{"name": "a", "label": "A", "temporaries": 3 * 2**20, "total": 1}]
    entries += [{"name": "b", "label": "B", "reason": "none"}]
    text = page(written("memory", rows=[{"cell": "gru", "size": "4,3,2,1", "entries": entries}]))
    assert "| gru | 4,3,2,1 | 3.0 |" in text
    assert "2030-01-02, A CPU, 2 cores" in text


def test_compile_shows_what_was_not_run_as_a_dash():
    times = {"trace_s": 0.25, "compile_s": 1.5}
    rows = [
        {"cell": "lstm", "axis": "T", "value": 8, "name": "ours", **times},
        {"cell": "lstm", "axis": "T", "value": 8, "name": "loop", **times},
        {"cell": "lstm", "axis": "T", "value": 16, "name": "ours", **times},
        {"cell": "lstm", "axis": "T", "value": 16, "name": "loop", "reason": "too long"},
    ]
    text = page(written("compile", rows=rows))
    assert "| lstm | T = 8 | 0.25 + 1.50 | 0.25 + 1.50 |" in text
    assert "| lstm | T = 16 | 0.25 + 1.50 | - |" in text


def test_scaling_shows_exponents():
    fits = [["T", "a", "median_ms", {"exponent": 1.02}], ["T", "b", "bytes", {"exponent": None}]]
    text = page(written("scaling", sections=[{"cell": "lstm", "pass": "train", "fits": fits}]))
    assert "| lstm | train | time in T | 1.02 | - |" in text
    assert "| lstm | train | memory in T | - | - |" in text


def test_parts_shows_the_floor_of_each():
    parts = {"forward": {"median_ms": 12.0, "flops": 2e9}}
    rows = [{"cell": "rnn", "size": "4,3,2,1", "parts": parts}]
    text = page(written("parts", rows=rows, matmul={"rate": 1e12}))
    assert "| rnn | 4,3,2,1 | 12.0 (2.00) |" in text


def test_drift_over_time():
    row = {"dt": 0.1, "alpha": 0.0, "T": 1000, "carry": 2.4e-7, "gradient": 1.3e-6}
    text = page(written("reversible", rows=[row]))
    assert "| 0.1 | 0 | 1,000 | 2e-07 | 1e-06 |" in text


def test_unknown_results_are_refused():
    with pytest.raises(ValueError, match="of none of compare, scaling"):
        page({"environment": PLACE})


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_parts_have_the_operations_of_the_whole(cell):
    size = Size(3, 2, 5, 4)
    parts = measure_parts(cell, size, 0.0)["parts"]
    assert parts["forward"]["flops"] == flops(cell, size, "forward")
    whole = [parts[n]["flops"] for n in parts if n not in ("forward", "whole train step")]
    assert sum(whole) == parts["whole train step"]["flops"] == flops(cell, size, "train")
    assert all(part["median_ms"] > 0 for part in parts.values())


def test_parts_takes_one_plain_layer():
    with pytest.raises(ValueError, match="plain sizes"):
        measure_parts("lstm", Size(3, 2, 5, 4, "layers2"), 0.0)
