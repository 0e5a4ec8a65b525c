"""The figures of `rnnjax compare`, of ordinary, short, dead, exploding and diverged nets."""

import numpy as np
import pytest
from looked_at import faults, legend_of

from rnnjax.experiments.report import _figures as figures, style, write_figures
from rnnjax.experiments.report._paths import error_paths
from rnnjax.experiments.tasks import Metric
from rnnjax.experiments.training import CONTENDERS, CellResult, FlowMeasures
from rnnjax.flow import Verdict

VERDICT = Verdict("constant", np.inf, 0.0, 0.0, 0.0)


def flow(rate=-0.1, steps=12, zero_from=None, infinite_from=None, alive=True):
    """Measures of a linear net of 3 units whose gradient grows at a rate per step."""
    lag = np.arange(steps)[::-1, None]
    norms = np.exp(rate * lag) * np.array([[1.0, 2.0, 4.0]]) * alive
    norms[(lag >= (zero_from or steps))[:, 0]] = 0
    norms[(lag >= (infinite_from or steps))[:, 0]] = np.inf
    lags = np.array([each for each in (1, 2, 4, 8) if each <= steps])
    ranks = np.arange(3)
    logs = lags[:, None] * (rate - ranks) if alive else np.full((len(lags), 3), -np.inf)
    between = np.subtract.outer(np.arange(steps), np.arange(steps))
    maps = np.tril(np.exp(rate * between)) * alive
    if infinite_from is not None:
        maps[-1, 0] = np.inf
    return FlowMeasures(norms, VERDICT, 0.0, lags, logs, maps)


def result(before, after, cost=((2.0, 1.0, 0.5),), curve=((0.3, 0.6),), metric="accuracy"):
    cost, curve = np.array(cost), np.array(curve)
    steps = 20 * np.arange(1, curve.shape[1] + 1)
    last = curve[:, -1]
    goal = Metric(metric, "max")
    return CellResult(last, cost, steps, curve, before, after, None, 1.0, goal, 10)


NAN = {"cost": ((2.0, np.nan, np.nan),), "curve": ((np.nan, np.nan),)}
SIX = {name: result(flow(-k / 2), flow(k / 9)) for k, name in enumerate(CONTENDERS)}
DEAD = result(flow(alive=False), flow(alive=False), **NAN)
MIXED = {
    "irnn": DEAD,
    "vanilla": result(flow(-9, zero_from=5), flow(9, infinite_from=6)),
    "lstm": result(flow(), flow()),
}
SHORT = result(flow(steps=1), flow(steps=1), cost=((1.0,),), curve=((0.5,),))
REGIMES = {"six": SIX, "mixed": MIXED, "short": {"gru": SHORT, "lstm": SHORT}}


@pytest.mark.parametrize(
    ("draw", "regime"),
    [
        (figures.gradient_norms, "mixed"),
        (figures.singular_values, "six"),
        (figures.sensitivity, "six"),
        (figures.sensitivity, "short"),
        (figures.learning_curves, "mixed"),
    ],
)
def test_texts_lie_neither_on_each_other_nor_on_curves(draw, regime):
    with style():
        figure = draw(REGIMES[regime])
    assert not faults(figure)
    assert figure.get_size_inches()[0] in (3.3, 7.0)


def with_paths(rate, *parts):
    """`flow`, whose whole error decays at a rate, and its parts k times faster."""
    lag = np.arange(9)[::-1, None]
    paths = {name: 0.5 * np.exp(-rate * k * lag) for k, name in enumerate(parts, 2)}
    return flow()._replace(paths={"whole": np.exp(-rate * lag), **paths})


def test_error_paths_are_drawn_for_the_cells_that_have_them():
    lstm, gru = (
        with_paths(0.1, *["carousel", "i", "f", "g", "o"]),
        with_paths(2.0, *["leak", "r", "z", "n"]),
    )
    results = {
        "vanilla": result(flow(), flow()),
        "lstm": result(lstm, lstm),
        "gru": result(gru, gru),
    }
    with style():
        figure = error_paths(results)
        assert error_paths({"vanilla": results["vanilla"]}) is None
    assert not faults(figure)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        *("LSTM, before training", "GRU, before training"),
        *("LSTM, after training", "GRU, after training"),
    ]
    whole, carousel, gate = (line.get_xydata() for line in figure.axes[0].lines[:3])
    np.testing.assert_allclose(whole[:, 1], np.exp(-0.1 * np.arange(9)))
    np.testing.assert_allclose(carousel[:, 1], 0.5 * np.exp(-0.2 * np.arange(9)))
    assert gate[0, 0] == 1  # no gate lies between the last state and the cost


def norms_of(results):
    with style():
        return figures.gradient_norms(results)


def test_norms_are_those_of_the_last_cost_relative_to_the_last_step():
    figure = norms_of({"gru": result(flow(-0.5), flow(0.25))})
    for axis, rate in zip(figure.axes, (-0.5, 0.25), strict=True):
        lags, values = axis.lines[0].get_xydata().T
        np.testing.assert_array_equal(lags, np.arange(12))
        np.testing.assert_allclose(values, np.exp(rate * lags))
        low, high = axis.get_ylim()
        assert low < values.min() <= values.max() < high  # nothing is cut off
        assert axis.get_yscale() == "log"
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "Before training",
        "After training",
    ]
    words = "Lag T − t (steps)\nC: cost of the last output\n(median over 3 examples)"
    assert figure.axes[-1].get_xlabel() == words


def test_norms_that_vanish_explode_or_are_missing_are_explained():
    figure = norms_of(MIXED)
    titles = [axis.get_title(loc="left").split("\n")[1:] for axis in figure.axes]
    assert titles == [["(no gradient: IRNN (ReLU))"]] * 2
    legend = legend_of(figure)
    assert [*legend] == [
        *("IRNN (ReLU)", "vanilla (tanh)", "LSTM"),
        *("then not finite", "then exactly zero"),
    ]
    marks = [{line.get_marker() for line in axis.lines} for axis in figure.axes]
    assert "v" in marks[0]
    assert "x" in marks[1]
    dead = norms_of({"irnn": DEAD})
    assert [axis.texts[0].get_text() for axis in dead.axes] == ["no gradient"] * 2
    lost = flow()._replace(norms=np.full((12, 3), np.nan))
    title = norms_of({"gru": result(lost, lost)}).axes[0].get_title(loc="left")
    assert title == "Before training\n(not finite: GRU)"


def test_one_step_is_a_point():
    for line in norms_of({"gru": SHORT}).axes[0].lines:
        assert line.get_markevery() == [0]
        assert line.get_xydata().tolist() == [[0, 1]]
    with style():
        figure = figures.singular_values({"gru": SHORT})
    for axis in figure.axes:
        assert {line.get_marker() for line in axis.lines} == {"o", "None"}  # "None": the zero line
        assert axis.get_xlim() == pytest.approx((0.9, 2.2))


def test_singular_values_share_limits_that_fit_them():
    with style():
        figure = figures.singular_values(MIXED)
    low, high = figure.axes[0].get_ylim()
    assert high == pytest.approx(8 * 9 / np.log(10), abs=3)
    assert low == -20
    assert figure.get_supxlabel().endswith("\nthe axis ends at −20: lines go on below it")
    assert [text.get_text() for axis in figure.axes for text in axis.texts] == ["exactly\nzero"] * 2
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == ["1", "2", "4", "8"]
    gone, lost = flow(), flow()
    gone.log_singular_values[2:, -1] = -np.inf
    lost.log_singular_values[2:] = np.nan
    with style():
        gaps, breaks = (figures.singular_values({"gru": result(x, x)}) for x in (gone, lost))
    said = "thick: the largest\n▽: from this lag on, more σ$_i$ are exactly zero"
    assert gaps.get_supxlabel().endswith(said)
    assert not faults(gaps)
    for axis in gaps.axes:  # a triangle on the edge at lag 4, where the smallest becomes zero
        (mark,) = [line for line in axis.lines if line.get_marker() == "v"]
        assert mark.get_xydata().tolist() == [[4, 0]]
    assert breaks.get_supxlabel().endswith("thick: the largest")  # not finite is not zero
    assert "v" not in {line.get_marker() for axis in breaks.axes for line in axis.lines}
    lost.log_singular_values[:] = np.nan
    with style():
        nothing = figures.singular_values({"gru": result(lost, lost)})
    assert [axis.texts[0].get_text() for axis in nothing.axes] == ["not finite"] * 2
    none = flow()._replace(lags=np.zeros(0), log_singular_values=np.zeros((0, 3)))
    with style():
        empty = figures.singular_values({"gru": result(none, none)})
    assert [axis.texts[0].get_text() for axis in empty.axes] == ["no lags"] * 2
    assert not len(empty.axes[0].get_yticks())


def test_maps_have_one_scale_and_say_where_there_is_nothing():
    with style():
        figure = figures.sensitivity(MIXED)
    *maps, bar = figure.axes
    said = [[text.get_text() for text in axis.texts] for axis in maps]
    assert said == [["all zero"], [], [], ["all zero"], ["not finite"], []]
    assert {(image.norm.vmin, image.norm.vmax) for axis in maps for image in axis.images} == {
        (1e-6, 1)
    }
    assert bar.get_ylabel() == "‖∂y$_t$/∂x$_k$‖ / its maximum\n(white: inputs to come, k > t)"
    drawn = np.asarray(maps[2].images[0].get_array().filled(np.nan))
    np.testing.assert_allclose(drawn[-1], np.exp(-0.1 * np.arange(12)[::-1]))
    assert np.isnan(drawn[0, 1:]).all()


def test_costs_are_smoothed_over_gaps():
    costs = np.array([[1.0, np.nan, 0.0]])
    kept = 0.95**10
    smooth = figures._smoothed(costs, 10)
    np.testing.assert_allclose(smooth, [[1, np.nan, kept]])


def test_norms_over_hundreds_of_decades_are_drawn():
    figure = norms_of({"gru": result(flow(8, 80), flow(-8, 80))})
    figure.draw_without_rendering()
    assert [axis.get_ylim() for axis in figure.axes] == [
        pytest.approx((1e-14, 1e200), rel=10),
        pytest.approx((1e-200, 1e14), rel=10),
    ]


def test_every_figure_is_written_as_png_and_pdf(tmp_path, monkeypatch):
    saved, engines = [], []

    def save(figure, *given):
        engines.append(type(figure.get_layout_engine()).__name__)
        saved.append((figure, *given))

    monkeypatch.setattr(figures, "save_figure", save)
    (tmp_path / "error_paths.pdf").write_text("of an earlier comparison")
    write_figures({"gru": SHORT}, tmp_path)
    assert not list(tmp_path.iterdir())
    names = ("gradient_norms", "singular_values", "sensitivity", "learning_curves")
    files = [path for _, path, _ in saved]
    assert files == [tmp_path / f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")]
    assert saved[1][2] == "Norms of the gradient by hidden states"
    constrained, held = "ConstrainedLayoutEngine", "PlaceHolderLayoutEngine"  # laid out once
    assert engines == [constrained, held] * 4
