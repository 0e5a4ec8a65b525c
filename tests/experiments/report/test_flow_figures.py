"""The figures of what `rnnjax.flow` measures: what is drawn where, and that it can be read."""

import jax.numpy as jnp
import numpy as np
import pytest
from looked_at import faults, legend_of

from rnnjax.cells import LSTMCarry
from rnnjax.experiments import report
from rnnjax.experiments.report import _flow_lines, _flow_panels, _predictability
from rnnjax.flow import Bound, Paths, Predictability, Recording, SingularValues, Truncation

T = 20
LAGS = np.arange(T)


@pytest.fixture
def drawn(monkeypatch):
    """The figure that a function draws, instead of its file."""

    def of(write, *given, **options):
        figures = []
        keep = lambda draw, path, title: figures.append(draw())  # noqa: E731
        for module in (_flow_lines, _flow_panels, _predictability):
            monkeypatch.setattr(module, "write_figure", keep)
        with report.style():
            write(*given, "x.png", **options)
            assert not faults(figures[0])
        return figures[0]

    return of


def decaying(rate):
    """‖∂C/∂h_t‖ = e^(-rate (T - t))."""
    return np.exp(-rate * LAGS[::-1])


def test_norms_by_lag_from_each_examples_last_step(drawn):
    ended = np.append(decaying(0.5)[5:], np.zeros(5))  # padded by five steps
    several = np.stack([3 * decaying(0.5), ended, decaying(0.4), np.zeros(T)], axis=1)
    carry_ct = LSTMCarry(jnp.asarray(several)[..., None], jnp.ones((T, 4, 1)))
    found = {"lstm": Recording(jnp.zeros(()), carry_ct, 1), "vanilla": decaying(-0.1)}
    bound = Bound(2.0, 1.0, 2.0, "may explode")
    figure = drawn(report.write_norms, found, leaf="h", bounds={"vanilla": bound})
    _, lstm, vanilla, dashed = figure.axes[0].lines
    np.testing.assert_allclose(lstm.get_ydata()[:15], np.exp(-0.5 * LAGS[:15]), rtol=1e-12)
    np.testing.assert_allclose(vanilla.get_ydata(), np.exp(0.1 * LAGS), rtol=1e-12)
    np.testing.assert_allclose(dashed.get_ydata(), 2.0**LAGS)
    words = ["LSTM", "vanilla (tanh)", "middle half of the examples", "Pascanu's bound (σγ)ᵏ"]
    assert [*legend_of(figure)] == words
    with pytest.raises(ValueError, match=r"bounds of \['gru'\]: found has \['lstm', 'vanilla'\]"):
        report.write_norms(found, "x.png", bounds={"gru": bound})
    with pytest.raises(ValueError, match="nothing to draw"):
        report.write_norms({}, "x.png")


def test_ratios_by_lag_from_each_examples_last_step(drawn):
    several = np.stack([LAGS / 10.0, 1.5 + 0 * LAGS, np.full(T, np.nan)], axis=1)
    several[15:, 0] = np.nan  # padded by five steps
    figure = drawn(report.write_ratios, {"lstm": several, "after": np.full((T, 2), 0.9)})
    one, lstm, after = figure.axes[0].lines
    assert set(one.get_ydata()) == {1.0}
    falling = np.arange(14, -6, -1) / 10
    falling[15:] = 1.5  # the first example has no such lag
    np.testing.assert_allclose(lstm.get_ydata(), (falling + 1.5) / 2)
    np.testing.assert_allclose(after.get_ydata(), 0.9)
    omega = np.sum((np.arange(15) / 10 - 1) ** 2)  # of 3.85, 5 and 0
    assert [*legend_of(figure)] == [
        f"LSTM: Ω = {omega:.3g}",
        "after: Ω = 0.2",
        "keeps the norm of the error",
        "middle half of the examples",
    ]
    assert next(iter(legend_of(drawn(report.write_ratios, np.full(T, 1.1))))) == "Ω = 0.2"
    with pytest.raises(ValueError, match="nothing to draw"):
        report.write_ratios({}, "x.png")


def test_exponents_by_length_and_the_iterations_of_deer(drawn):
    def of(label, steps, *exponents):
        return [Predictability(label, *pair) for pair in zip(exponents, steps, strict=True)]

    found = {"gru": of("converges", [100, 10], -0.3, -0.05), "x_2": of("diverges", [10], 0.2)}
    figure = drawn(report.write_predictability, found, iterations={"gru": [6, 5]})
    exponents, iterations = figure.axes
    gru, other, _ = exponents.lines
    assert (gru.get_xdata().tolist(), gru.get_ydata().tolist()) == ([10, 100], [-0.05, -0.3])
    assert [*other.get_xdata(), *other.get_ydata()] == [10, 0.2]
    band = exponents.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(np.abs(band[:, 1]) * band[:, 0], 1)  # ±1/T
    assert iterations.lines[0].get_ydata().tolist() == [5, 6]
    words = [
        "GRU: converges",
        "x_2: diverges",
        "neutral: |λ₁| < 1/T",
        "T iterations always suffice",
    ]
    assert [*legend_of(figure)] == words
    assert len(drawn(report.write_predictability, found).axes) == 1
    alone = drawn(report.write_predictability, {"gru": found["gru"][0]}, iterations={"gru": [6]})
    assert alone.axes[1].lines[0].get_ydata().tolist() == [6]
    with pytest.raises(ValueError, match="iterations has 'y', which found has not: it has gru"):
        report.write_predictability(found, "x.png", iterations={"y": [1]})
    with pytest.raises(ValueError, match=r"iterations\['x_2'\] .* of the 1 .* got shape \(2,\)"):
        report.write_predictability(found, "x.png", iterations={"x_2": [1, 2]})
    with pytest.raises(ValueError, match="nothing to draw"):
        report.write_predictability({"x": []}, "x.png")


def test_lengths_of_truncation(drawn):
    bounds = 0.5 ** np.arange(1, 9.0)
    short = Truncation(4, bounds[3], 0.1, 0.5, bounds, bounds)
    none = Truncation(None, np.inf, 0.1, 1.1, np.full(8, np.inf), bounds)
    figure = drawn(report.write_truncation, {"short": short, "none": none})
    assert [*legend_of(figure)] == ["short", "none: no bound", "bias asked for: 0.1"]
    marker = figure.axes[0].lines[2]
    assert (marker.get_xdata()[0], marker.get_ydata()[0]) == (4, bounds[3])


def test_where_a_clip_fires_by_lag_from_each_examples_last_step(drawn):
    fires = np.zeros((4, 2), bool)
    fires[0], fires[1, 1] = True, True  # the second example ends at step 2
    found = {"lstm": fires, "gru": ~fires[:3]}
    figure = drawn(report.write_clipped_steps, {"lstm": fires}, lengths=np.array([4, 2]))
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [50, 50, 0, 100])
    figure = drawn(report.write_clipped_steps, found)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [0, 0, 50, 100])
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), [100, 50, 0])
    assert [*legend_of(figure)] == ["LSTM", "GRU"]
    never = drawn(report.write_clipped_steps, np.zeros((80, 1), bool)).axes[0].lines[0]
    assert not never.get_ydata().any()
    assert 2 < len(never.get_markevery()) < 10  # some points of a line along zero, not all
    with pytest.raises(ValueError, match=r"lengths must have the shape \[2\] .* got \[1\]"):
        report.write_clipped_steps(fires, "x.png", lengths=np.array([4]))


def test_panels_of_singular_values_sensitivity_and_paths(drawn):
    lags = np.array([1, 2, 4, 8])
    logs = -lags[:, None, None] * np.array([0.1, 1.0, np.inf]) * np.array([[1.0], [3.0]])
    figure = drawn(report.write_singular_values, {"x": SingularValues(lags, logs), "y_2": _one()})
    largest, mark = (line.get_xydata() for line in figure.axes[0].lines[-2:])
    np.testing.assert_allclose(largest[:, 1], -0.2 * lags / np.log(10))  # of rates 0.1, 0.3
    assert mark.tolist() == [[1, 0]]  # the third is exactly zero from the first lag on
    assert legend_of(figure) == {"then exactly zero": "v"}
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["x", "y_2"]
    logs[2:, 1], logs[3] = np.nan, np.nan  # lengths of 4 and 2 steps
    figure = drawn(report.write_singular_values, SingularValues(lags, logs))
    largest = figure.axes[0].lines[-2].get_ydata()
    np.testing.assert_allclose(largest, [-0.2, -0.4, -0.4, np.nan] / np.log(10))
    steep = np.array([[0.0, -1.0], [-1.0, -99.0]])
    figure = drawn(report.write_singular_values, SingularValues(np.array([1, 9]), steep))
    assert figure.axes[0].get_ylim()[0] == -20
    assert legend_of(figure) == {}
    maps = np.tril(np.exp(-np.abs(np.subtract.outer(LAGS, LAGS)) / 3.0))
    figure = drawn(report.write_sensitivity, np.stack([maps, maps, 0 * maps], axis=2))
    image = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(image[-1, 0], np.exp(-19 / 3))
    parts = {name: _of(rate) for name, rate in (("carousel", 0.3), ("g", 0.1))}
    figure = drawn(report.write_paths, Paths(_of(0.1), parts, "c"))
    assert [*legend_of(figure)] == [
        "whole gradient",
        "along the state alone (LSTM: Π f, GRU: Π z)",
        "candidate (LSTM: g, GRU: n)",
    ]
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), np.exp(-0.3 * LAGS))


def _one():
    return SingularValues(np.array([1]), np.zeros((1, 2)))


def _of(rate):
    norms = jnp.asarray(decaying(rate))[:, None, None]
    return Recording(jnp.zeros(()), LSTMCarry(norms, norms), 1)
