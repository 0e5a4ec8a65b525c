"""Learning curves: what is drawn, on which axis, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from rnnjax.experiments.report import RunCurve, write_curves
from rnnjax.experiments.report._curves import curves_figure
from rnnjax.experiments.report._style import LOOKS
from rnnjax.experiments.tasks import Metric

HISTORY = [
    {"step": 10, "cost": 2.0},
    {"step": 20, "cost": 1.0, "evaluation": {"accuracy": 0.5}},
    {"step": 30, "cost": 0.5},
    {"step": 40, "cost": 0.01, "evaluation": {"accuracy": 0.9, "nats": 1.0}},
]
ACCURACY = Metric("accuracy", "max")


def test_cost_and_metric_are_drawn_over_their_steps():
    figure = curves_figure(
        [RunCurve("lstm", HISTORY), RunCurve("other", HISTORY[:2])],
        ACCURACY,
        {"guess": 0.1, "linear": 0.8, "none": 0.0, "trees": 0.85},
    )
    cost, metric = figure.axes
    np.testing.assert_allclose(cost.lines[0].get_xydata().T, [[10, 20, 30, 40], [2, 1, 0.5, 0.01]])
    np.testing.assert_allclose(metric.lines[0].get_xydata().T, [[20, 40], [50, 90]])
    np.testing.assert_allclose(metric.lines[1].get_xydata().T, [[20], [50]])
    assert cost.lines[0].get_color() == LOOKS["lstm"].color != cost.lines[1].get_color()
    assert [line.get_ydata()[0] for line in metric.lines[2:]] == pytest.approx([85, 80, 10])
    assert [text.get_text() for text in metric.texts] == ["trees", "linear", "guess"]
    assert metric.get_ylabel() == "held-out accuracy (%)"
    assert [text.get_text() for text in figure.legends[0].texts] == ["LSTM", "other"]
    assert (cost.get_yscale(), metric.get_yscale()) == ("log", "linear")


def test_a_spike_does_not_hide_the_rest():
    costs = [1.0, 0.5, 1e20, 0.1, float("nan"), 0.01]
    history = [{"step": k, "cost": cost} for k, cost in enumerate(costs)]
    cost, metric = curves_figure([RunCurve("a", history)], ACCURACY, {}).axes
    assert cost.get_ylim()[1] == pytest.approx(30)
    assert cost.get_yscale() == "log"
    assert metric.get_yscale() == "linear"


def test_of_several_seeds_the_mean_and_the_range():
    history = [
        {"step": step, "cost": [1.0, 3.0], "evaluation": {"error": [0.1 * step, 0.3 * step]}}
        for step in (1, 2)
    ]
    figure = curves_figure([RunCurve("a", history)], Metric("error", "min", "nats"), {})
    cost, metric = figure.axes
    np.testing.assert_allclose(cost.lines[0].get_ydata(), [2, 2])
    np.testing.assert_allclose(metric.lines[0].get_ydata(), [0.2, 0.4])
    band = metric.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((0.1, 0.6))
    assert metric.get_ylabel() == "held-out error (nats)"
    assert not figure.legends


def test_files_and_what_is_refused(tmp_path):
    write_curves([RunCurve("a", HISTORY)], ACCURACY, tmp_path / "x.png")
    assert np.asarray(Image.open(tmp_path / "x.png")).std() > 10
    with pytest.raises(ValueError, match="at least one run"):
        write_curves([], ACCURACY, tmp_path / "y.png")
    with pytest.raises(ValueError, match="'a' has not logged anything yet"):
        write_curves([RunCurve("a", [])], ACCURACY, tmp_path / "y.png")
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
