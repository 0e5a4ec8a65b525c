"""The meter of gradients that are not exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import online
from rnnjax.gradients import error

pytestmark = pytest.mark.usefixtures("eager")

CELL = rnnjax.vanilla(3)
PARAMS = CELL.init(jax.random.key(0), 2)
XS = np.random.default_rng(0).normal(size=(5, 2, 2))


def last_output(carry, ys):
    return jnp.sum(jnp.sin(ys[-1]))


def of(gradient, cost=last_output, **options):
    return error(CELL, PARAMS, XS, cost, gradient, **options)


def by_hand(gradient, window):
    def cost(params):
        return last_output(*rnnjax.unroll(CELL, params, XS[:window], gradient=gradient))

    return jax.grad(cost)(PARAMS)


def test_the_numbers_are_those_of_the_definition():
    report = of(rnnjax.truncated(2), windows=(2, 5))
    assert [row.leaf for row in report.rows] == ["w_x", "w_h", "b", "all"] * 2
    assert [row.window for row in report.rows] == [2] * 4 + [5] * 4
    for row in report.rows[:4]:  # one chunk: exact
        assert row.relative < 1e-14
        assert row.cosine == pytest.approx(1.0)
    g, e = by_hand(rnnjax.truncated(2), 5).w_h, by_hand(rnnjax.bptt(), 5).w_h
    row = report.rows[5]
    assert row.relative == pytest.approx(np.linalg.norm(g - e) / np.linalg.norm(e))
    assert row.cosine == pytest.approx(np.sum(g * e) / np.linalg.norm(g) / np.linalg.norm(e))
    assert row.signs == np.mean(np.sign(g) == np.sign(e))
    assert (row.bias, row.deviation) == (pytest.approx(row.relative), 0.0)
    assert 0.01 < report.rows[-1].relative < 1


def test_random_gradients_have_bias_and_deviation_over_seeds():
    report = of(online.uoro(jax.random.key(1)), seeds=4, windows=[2])
    assert report.seeds == 4
    row = report.rows[-1]
    assert row.leaf == "all"
    assert row.deviation > 0.1
    assert row.bias < 4 * row.noise
    assert row.relative**2 == pytest.approx(row.bias**2 + row.deviation**2)
    assert "4 seeds" in str(report)


def test_a_leaf_without_a_gradient_is_not_compared():
    report = of(rnnjax.truncated(1), windows=[1])  # the first h is zero, so W_h has none
    lines = str(report).splitlines()
    assert lines[0] == "truncated against the exact gradient"
    assert lines[1].split() == ["window", "leaf", *report.rows[0]._fields[2:]]
    assert lines[3].split() == ["1", "w_h", "-", "-", "1", "-", "-", "-"]


def test_a_learned_carry_is_among_the_params():
    cell = rnnjax.learned_carry(CELL)
    params = jax.tree.map(lambda leaf: leaf + 0.3, cell.init(jax.random.key(0), 2))
    options = {"resets": jnp.zeros((5, 2), bool).at[2, 1].set(True)}

    def by_unroll(gradient):
        def cost(params):
            return last_output(*rnnjax.unroll(cell, params, XS, gradient=gradient, **options))

        return jax.grad(cost)(params).carry.h

    row = error(cell, params, XS, last_output, rnnjax.truncated(4), **options).rows[-2]
    assert row.leaf == "carry.h"
    g, e = by_unroll(rnnjax.truncated(4)), by_unroll(rnnjax.autodiff())
    assert row.relative == pytest.approx(np.linalg.norm(g - e) / np.linalg.norm(e))
    assert row.relative > 0.1
    assert error(cell, params, XS, last_output, online.rtrl(), **options).rows[-1].relative < 1e-12


def test_the_figure_has_a_line_for_each_leaf():
    pytest.importorskip("matplotlib")
    figure = of(rnnjax.truncated(2), windows=(1, 5)).figure()
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["w_x", "w_h", "b", "all"]
    assert [*lines[0].get_xdata()] == [1, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": (6,)}, r"windows must lie in 1\.\.5 \(T of xs\), got 6"),
        ({"windows": ()}, "windows must have at least one length"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"cost": lambda carry, ys: ys}, "cost.* must return a scalar"),
        ({"gradient": online.rflo()}, "units leak"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        of(**{"gradient": rnnjax.truncated(2), **options})
