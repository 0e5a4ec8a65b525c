import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline

from rnnjax.experiments.data.series import mackey_glass


@pytest.mark.parametrize("delay", [17, 30])
def test_it_solves_its_equation(delay):
    x = mackey_glass(200, delay)
    past = CubicSpline(np.arange(200), x)

    def slope(t, now):
        old = past(t - delay)
        return 0.2 * old / (1 + old**10) - 0.1 * now

    for start in (50, 120):
        found = solve_ivp(slope, (start, start + 10), [x[start]], rtol=1e-9, atol=1e-9).y[0, -1]
        assert found == pytest.approx(x[start + 10], abs=2e-3)
    assert 0.2 < x.min() < 0.6
    assert 1.2 < x.max() < 1.5
