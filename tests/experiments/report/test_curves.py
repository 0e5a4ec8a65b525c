"""Learning curves: what is drawn, on which axes, with which words, and what is refused."""

import numpy as np
import pytest
from looked_at import faults, legend_of
from PIL import Image

from rnnjax.experiments.report import RunCurve, style, write_curves
from rnnjax.experiments.report._curves import curves_figure
from rnnjax.experiments.report._style import LOOKS, looks_of
from rnnjax.experiments.report._words import metric_label, run_label
from rnnjax.experiments.tasks import Metric

HISTORY = [
    {"step": 10, "cost": 2.0},
    {"step": 20, "cost": 1.0, "evaluation": {"accuracy": 0.5}},
    {"step": 30, "cost": 0.5},
    {"step": 40, "cost": 0.01, "evaluation": {"accuracy": 0.9, "nats": 1.0}},
]
ACCURACY = Metric("accuracy", "max")
MSE = Metric("mse", "min")


def run_of(costs, scores=(), label="a", name="accuracy"):
    """A run with a cost at each step and a score, where there is one."""
    return RunCurve(
        label,
        [
            {"step": k + 1, "cost": cost}
            | ({"evaluation": {name: scores[k]}} if k < len(scores) else {})
            for k, cost in enumerate(costs)
        ],
    )


def drawn(*runs, metric=ACCURACY, baselines=None):
    with style():
        return curves_figure(runs, metric, baselines or {})


def curves_in(axis):
    """The data of the curves of a panel, without baselines."""
    return [
        line.get_xydata().T for line in axis.lines if line.get_marker() not in ("None", "x", "v")
    ]


def test_cost_and_metric_are_drawn_over_their_steps():
    figure = drawn(
        RunCurve("lstm", HISTORY),
        RunCurve("other", HISTORY[:2]),
        baselines={"guess": 0.1, "linear": 0.8, "nan": np.nan, "none": 0.0, "trees": 0.85},
    )
    cost, metric = figure.axes
    np.testing.assert_allclose(cost.lines[0].get_xydata().T, [[10, 20, 30, 40], [2, 1, 0.5, 0.01]])
    np.testing.assert_allclose(metric.lines[0].get_xydata().T, [[20, 40], [50, 90]])
    np.testing.assert_allclose(metric.lines[1].get_xydata().T, [[20], [50]])
    assert cost.lines[0].get_color() == LOOKS["lstm"].color != cost.lines[1].get_color()
    assert [line.get_ydata()[0] for line in metric.lines[2:]] == pytest.approx([85, 80, 10])
    assert metric.get_ylabel() == "Held-out accuracy (%)"
    assert metric.get_xlabel() == "Training step"
    legend = legend_of(figure)
    assert [*legend] == ["LSTM", "other", *(f"baseline: {x}" for x in ("trees", "linear", "guess"))]
    assert legend["LSTM"] == cost.lines[0].get_marker() == metric.lines[0].get_marker()
    assert (cost.get_yscale(), metric.get_yscale()) == ("log", "linear")
    assert figure.get_size_inches()[0] == 3.3  # one column of a journal


LONG = {"a very long name of some baseline, bigrams and more": 0.7, "linear": 0.8, "x": 0.1}


@pytest.mark.parametrize(
    ("runs", "baselines"),
    [
        ([run_of([1.0], [0.5])], {}),
        ([run_of([1.0])], LONG),
        ([run_of([None] * 3, [None] * 3)], LONG),
        ([run_of([1.0] * 9, [1.0] * 9, "a_$b$"), run_of([1.0] * 9, [1.0], "_c\x1b[31m d")], {}),
        ([run_of([9, 0.1], [0.5, 0.9], f"learning_rate={k / 7}") for k in range(10)], LONG),
        ([run_of([1.0], [0.5], "a very_long name " * 6), run_of([], [], "W/" * 30)], LONG),
    ],
    ids=["single", "not evaluated", "nan", "constant", "ten", "long names"],
)
def test_no_text_lies_on_a_curve_or_another_text(runs, baselines):
    assert not faults(drawn(*runs, metric=Metric("accuracy_1000", "max"), baselines=baselines))


def test_a_single_point_has_a_marker_in_each_panel_and_steps_are_whole_numbers():
    for axis in drawn(run_of([1.0], [0.5])).axes:
        (line,) = axis.lines
        assert line.get_markevery() == [0]
        assert line.get_marker() == "o"
        low, high = axis.get_xlim()
        ticks = [tick for tick in axis.get_xticks() if low <= tick <= high]
        assert ticks == [0, 1]
    between = run_of([1.0, None, 2.0, None, None, 3.0, 4.0] + [5.0] * 40)
    assert {0, 2} <= set(drawn(between).axes[0].lines[0].get_markevery())


def test_a_run_without_finite_values_is_named_so():
    runs = [
        run_of([1.0, 0.5], [0.5, 0.6], "lstm"),
        run_of([None, None], ["inf", None], "gru"),
        run_of([1.0, 0.9], [], "short"),
        run_of([], [], "new"),
        run_of([1.0, 0.9], [None], "half"),
        run_of([1.0, 0.9], [0.5], "other", name="mse"),
    ]
    assert [*legend_of(drawn(*runs))] == [
        "LSTM",
        "GRU: no finite values",
        "short: not evaluated",
        "new: nothing logged yet",
        "half: metric not finite",
        "other: has no accuracy",
    ]
    alone = drawn(runs[1])
    assert [axis.texts[0].get_text() for axis in alone.axes] == ["no finite values"] * 2
    assert [len(axis.get_yticks()) for axis in alone.axes] == [0, 0]
    assert [text.get_text() for text in drawn(runs[2]).axes[1].texts] == ["no values"]


def test_a_cross_ends_a_curve_that_breaks_off():
    figure = drawn(run_of([4.0, 3.0, None, 2.0, "inf", None]))
    curve, cross = figure.axes[0].lines
    np.testing.assert_array_equal(curve.get_ydata(), [4, 3, np.nan, 2, np.nan, np.nan])
    assert (cross.get_marker(), cross.get_xydata().tolist()) == ("x", [[4, 2]])
    assert legend_of(figure) == {"then not finite": "x"}


def test_of_several_seeds_the_mean_and_the_range():
    history = [
        {"step": step, "cost": [1.0, 3.0], "evaluation": {"error": [0.1 * step, 0.3 * step]}}
        for step in (1, 2)
    ]
    figure = drawn(RunCurve("a", history), metric=Metric("error", "min", "nats"))
    cost, metric = figure.axes
    np.testing.assert_allclose(cost.lines[0].get_ydata(), [2, 2])
    np.testing.assert_allclose(metric.lines[0].get_ydata(), [0.2, 0.4])
    band = metric.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((0.1, 0.6))
    assert metric.get_ylabel() == "Held-out error (nats)"
    assert legend_of(figure) == {"range over seeds (line: mean)": "patch"}


def test_of_several_seeds_those_that_are_finite():
    figure = drawn(run_of([[1.0, 2.0, 3.0], [1.0, None, 2.0]], [[0.1, 0.3, 0.5]]))
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [2, 1.5])
    assert next(iter(legend_of(figure))) == "a: 1 of 3 seeds not finite at the end"


@pytest.mark.parametrize(
    ("values", "scale", "low", "high"),
    [
        ([1.0, 1.0, 1.0], "linear", 0.9, 1.1),
        ([0.0, 0.0], "linear", -1, 1),
        ([2.0, 1.0], "linear", 0.95, 2.05),
        ([1.0, 1e-8], "log", 10**-8.4, 10**0.4),
        ([1e12, 2e12], "linear", 0.95e12, 2.05e12),
        ([1e-300, 1e-300], "log", 10**-300.5, 10**-299.5),
        ([1.0, 0.5, 1e20, 0.1, None, 0.01], "log", None, 30 * 30**0.05 * 100**0.05),  # a spike
        ([-1e20, 0.3, 0.5, 0.6, 0.7], "linear", 0.28, 0.72),
        ([0.5, 0.1, 0.0], "linear", -0.025, 0.525),
        ([1.0, 1e-4, 0.0], "log", 10**-4.2, 10**0.2),
    ],
)
def test_limits_fit_the_values(values, scale, low, high):
    cost = drawn(run_of(values)).axes[0]
    assert cost.get_yscale() == scale
    if low is not None:
        assert cost.get_ylim()[0] == pytest.approx(low)
    assert cost.get_ylim()[1] == pytest.approx(high, rel=0.3 if low is None else 1e-6)


def test_zeros_on_a_logarithmic_axis_are_marked_and_explained():
    figure = drawn(run_of([1.0, 1e-4, 0.0, 1e-2, 0.0, 0.0, *[1e-3] * 30]))
    curve, zeros = figure.axes[0].lines
    assert (zeros.get_marker(), zeros.get_xdata().tolist()) == ("v", [3, 5])
    assert zeros.get_transform().transform([(0, 0)])[0, 1] == figure.axes[0].bbox.y0
    assert legend_of(figure) == {"then exactly zero": "v"}
    np.testing.assert_array_equal(curve.get_ydata()[:6], [1, 1e-4, np.nan, 1e-2, np.nan, np.nan])
    assert 3 in curve.get_markevery()  # a point without neighbours


@pytest.mark.parametrize(
    ("scores", "low", "high"),
    [([1.0, 1.0], 90, 103), ([0.0, 0.0], -3, 5), ([0.001, 0.9], -3, 94.495), ([0.5], 45, 55)],
)
def test_percentages_are_on_a_linear_axis_within_their_range(scores, low, high):
    axis = drawn(run_of([1.0] * len(scores), scores)).axes[1]
    assert (axis.get_yscale(), *axis.get_ylim()) == ("linear", *map(pytest.approx, (low, high)))


def test_lines_that_coincide_can_be_told_apart():
    runs = [run_of([1.0] * 20, label=f"run {k}") for k in range(10)]
    lines = drawn(*runs).axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 10
    widths = [line.get_linewidth() for line in lines]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > widths[-1] + 0.4
    assert len({line.get_markevery()[0] for line in lines[::4]}) > 1
    assert all(4 <= len(line.get_markevery()) <= 16 for line in lines)


def test_looks_do_not_take_the_color_of_a_cell_that_is_there():
    looks = looks_of(["lstm", "other", "gru", "more"])
    assert looks[0] == LOOKS["lstm"]
    assert len({look.color for look in looks}) == 4


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        (Metric("accuracy_1000", "max"), "accuracy at length 1,000 (%)"),
        (Metric("accuracy_long", "max"), "accuracy on longer strings (%)"),
        (Metric("nats_per_character", "min", "nats"), "nats per character"),
        (Metric("mse", "min"), "MSE"),
        (Metric("bleu_4", "max", "%"), "BLEU-4 (%)"),
        (Metric("exact", "max"), "exact matches (%)"),
        (Metric("valid_time", "max", "Lyapunov times"), "valid time (Lyapunov times)"),
    ],
)
def test_metrics_have_names_and_units_as_one_says_them(metric, label):
    assert metric_label(metric) == label


def test_names_of_runs_are_text_in_lines_that_fit():
    assert run_label("min_gru") == "minGRU"
    names = ["_a_$b$\x1b[0m", "__", "W" * 99, "learning_rate=0.1, " * 9]
    legend = [*legend_of(drawn(*(run_of([1.0], label=name) for name in names)))]
    assert legend[:2] == ["a \\$b\\$\N{REPLACEMENT CHARACTER}[0m", "(no name)"]
    assert legend[2].replace("\n", "") == names[2]
    assert legend[3].startswith("learning rate=0.1, learning rate=0.1, ")
    assert legend[3].replace("\n", " ") == names[3].replace("_", " ").strip()


def test_files_carry_title_and_author_and_embed_their_fonts(tmp_path):
    runs = [RunCurve("a", HISTORY)]
    write_curves(runs, ACCURACY, tmp_path / "x.png", title="Learning curves: adding")
    with Image.open(tmp_path / "x.png") as image:
        assert np.asarray(image).std() > 10
        assert image.width == 990
        assert image.info["Title"] == "Learning curves: adding"
        assert image.info["Author"].startswith("rnnjax ")
    for name in ("x.pdf", "y.pdf"):
        write_curves(runs, ACCURACY, tmp_path / name)
    content = (tmp_path / "x.pdf").read_bytes()
    assert b"/Title (Learning curves)" in content
    assert b"/Author (rnnjax " in content
    assert b"/FontFile2" in content  # TrueType
    assert b"/Type3" not in content
    assert content == (tmp_path / "y.pdf").read_bytes()


def test_what_is_refused(tmp_path):
    one = RunCurve("a", HISTORY)
    with pytest.raises(ValueError, match="at least one run"):
        write_curves([], ACCURACY, tmp_path / "y.png")
    with pytest.raises(ValueError, match="'a' has not logged anything yet"):
        write_curves([RunCurve("a", [])], ACCURACY, tmp_path / "y.png")
    with pytest.raises(ValueError, match="several runs have the label 'a'"):
        write_curves([one, one], ACCURACY, tmp_path / "y.png")
    with pytest.raises(ValueError, match=r"metric\.goal must be one of 'max', 'min', got 'low'"):
        write_curves([one], Metric("mse", "low"), tmp_path / "y.png")
    with pytest.raises(TypeError, match=r"metric must be a tasks\.Metric"):
        write_curves([one], "mse", tmp_path / "y.png")
    with pytest.raises(ValueError, match=r"y.docx: a figure in the format .docx is not supported"):
        write_curves([one], ACCURACY, tmp_path / "y.docx")
    with pytest.raises(FileNotFoundError) as refused:
        write_curves([one], ACCURACY, tmp_path / "nowhere" / "y.png")
    assert refused.value.filename == str(tmp_path / "nowhere" / "y.png")
    assert not [*tmp_path.iterdir()]
