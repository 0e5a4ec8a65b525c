"""The figures of the benchmarks: legends, limits and what was not measured."""

import numpy as np
import pytest
from looked_at import faults, legend_of

from benchmarks import plots
from rnnjax.experiments.report import style

LABELS = {"ours": "rnnjax native", "peer": "Flax nnx", "other": "PyTorch", "absent": "Haiku"}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would be written."""
    figures = []

    def write(draw, path, title):
        with style():
            figures.append(draw())

    monkeypatch.setattr(plots, "write_figure", write)
    return figures


def point(axis, value, **milliseconds):
    entries = {name: {"median_ms": ms, "bytes": 2**20 * ms} for name, ms in milliseconds.items()}
    return {"axis": axis, "value": value, "entries": entries}


def test_every_program_of_any_panel_is_in_the_legend(drawn):
    points = [point("T", t, ours=t / 10, peer=t / 5) for t in (10, 100, 1000)]
    points += [point("B", b, ours=b, other=2 * b) for b in (1, 2, 4)]
    plots.draw_scaling(points, LABELS, "LSTM", "x.png")
    (figure,) = drawn
    assert [*legend_of(figure)] == ["rnnjax native", "Flax nnx", "PyTorch"]
    assert not faults(figure)
    time = figure.axes[0]
    np.testing.assert_allclose(time.lines[0].get_ydata(), [1, 10, 100])
    assert [text.get_text() for text in time.get_legend().texts] == ["$T^{1.00}$"] * 2
    assert time.get_legend().get_window_extent().y0 >= time.bbox.y1  # above the panel
    low, high = time.get_ylim()
    assert low < 1 < 200 < high
    labels = [axis.get_ylabel() for axis in figure.axes]
    assert labels == ["Time (ms)", "", "Memory (MiB)", ""]


def test_one_size_is_a_point_in_a_decade_and_nothing_is_said_to_be_nothing(drawn):
    plots.draw_scaling([point("H", 16, ours=2.0)], LABELS, "LSTM", "x.png")
    plots.draw_scaling([point("H", 16)], LABELS, "LSTM", "x.png")
    one, none = drawn
    assert one.axes[0].get_ylim() == pytest.approx((2 / 10**0.5, 2 * 10**0.5))
    assert one.axes[0].get_xlim() == (8, 32)
    assert [axis.texts[0].get_text() for axis in none.axes] == ["not measured"] * 2


def test_compiling_and_tracing_are_told_apart(drawn):
    rows = [
        {"axis": "T", "value": t, "name": name, "compile_s": 1.0, "trace_s": 0.1}
        for t in (8, 64)
        for name in ("loop", "native")
    ]
    plots.draw_compile(rows, "LSTM", "x.png")
    plots.draw_compile([], "LSTM", "x.png")
    figure, none = drawn
    assert [*legend_of(figure)] == ["loop", "native"]
    compiled, traced = figure.axes[0].lines[:2]
    assert compiled.get_color() == traced.get_color()
    assert compiled.get_linestyle() != traced.get_linestyle()
    assert "solid to compile" in figure.axes[0].get_ylabel()
    assert none.axes[0].texts[0].get_text() == "not measured"
    assert not faults(figure)


def test_many_programs_have_different_looks():
    assert len(set(plots.looks([str(k) for k in range(14)]).values())) == 14
