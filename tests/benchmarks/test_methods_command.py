"""`methods`: every gradient and method has a line, what it measures is right, and it is drawn."""

import inspect

import pytest
from looked_at import faults, legend_of

import rnnjax
from benchmarks import methods_plot
from benchmarks.methods import PATIENCE, Point, measure_methods
from benchmarks.pages import page
from benchmarks.ways import GRADIENTS, METHODS, ways
from rnnjax import gradients, online
from rnnjax.experiments.report import style

WAYS = {way.name: way for way in ways()}
PLACE = {"date": "2030-01-02T03:04:05", "cpu": "A CPU", "cores": 2, "device": "cpu"} | {
    "versions": {"jax": "1.2"}
}
SIZES = {"B": 1, "D": 2, "H": 3}


def test_every_public_gradient_and_method_has_a_line():
    values = (rnnjax.Gradient, rnnjax.BaseGradient, online.Online)
    public = {
        prefix + name
        for prefix, module in (("", gradients), ("online.", online))
        for name in module.__all__
        if inspect.isfunction(getattr(module, name))
        and inspect.signature(getattr(module, name)).return_annotation in values
    }
    assert len(public) > 8
    assert public <= {name.split("(")[0] for name in GRADIENTS}
    assert {*rnnjax.methods.AVAILABILITY} - {"cudnn"} <= {n.split("(")[0] for n in METHODS}


@pytest.mark.usefixtures("keep_compiled")
def test_a_window_beyond_the_sequence_is_exact_and_others_are_refused_or_too_slow():
    before = {"T": 1, "entries": [{"name": "bptt()", "median_ms": 1e3 * PATIENCE}]}
    chosen = [WAYS[name] for name in ("bptt()", "truncated(20)", "native()", "online.rflo()")]
    row = measure_methods(Point("min_gru", 6), chosen, 0.0, before)
    slow, timed, *refused = row["entries"]
    assert (slow["status"], slow["reason"]) == ("too slow", "it would take about 72 s")
    assert timed["error"] < 1e-5
    assert min(timed[k] for k in ("median_ms", "temporaries", "trace_s", "compile_s")) > 0
    assert ["no kernel" in refused[0]["reason"], "units leak" in refused[1]["reason"]] == [True] * 2


def row(cell, T, **milliseconds):
    each = {"status": "timed", "temporaries": 2**20 * T, "trace_s": 1, "compile_s": 2, "error": 0.3}
    entries = [
        {"name": name, "family": WAYS[name].family}
        | ({"status": "too slow", "reason": "none"} if ms is None else {"median_ms": ms, **each})
        for name, ms in milliseconds.items()
    ]
    refused = {"name": "native()", "family": "exact", "status": "refused", "reason": "none"}
    return {"cell": cell, "T": T, "entries": [*entries, refused]}


ROWS = [
    row("lstm", 10, **{"bptt()": 1.0, "online.rtrl()": 20.0}),
    row("lstm", 100, **{"bptt()": 11.0, "online.rtrl()": None}),
]


def test_the_page_has_a_line_for_each_way():
    text = page({"what": "methods", "environment": PLACE, "sizes": SIZES, "rows": ROWS})
    assert "B = 1, 2 inputs, H = 3." in text
    assert "| `bptt()` | 1.00 | 11.0 | 10.0 | 100 | 3.00 | 0.3 | 0.3 |" in text
    assert "| `online.rtrl()` | 20.0 | - | 10.0 | - | 3.00 | 0.3 | - |" in text
    assert "- refused: native() (T = 10, 100)" in text
    assert "- too slow: online.rtrl() (T = 100)" in text


def test_the_figure_has_a_column_for_each_cell(monkeypatch):
    figures = []

    def write(draw, path, title):
        with style():
            figures.append(draw())

    monkeypatch.setattr(methods_plot, "write_figure", write)
    other = row("gru", 10, **{"bptt()": 2.0, "online.rtrl()": None})
    methods_plot.draw_methods([*ROWS, other, row("lru", 10)], "Prices", "x.png")
    (figure,) = figures
    assert not faults(figure)
    assert [*legend_of(figure)] == ["T = 10", "T = 100", "exact", "forwards"]
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == [
        "bptt()",
        "online.rtrl()",
    ]
    assert list(figure.axes[0].lines[0].get_xdata()) == [1.0, 11.0]
    said = [[text.get_text() for text in axis.texts] for axis in figure.axes]
    assert said[:3] == [["T = 100: too slow"], ["too slow"], ["not measured"]]
    assert said[3:6] == said[6:] == [[], ["too slow"], ["not measured"]]
