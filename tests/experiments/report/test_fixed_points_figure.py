"""The figure of fixed points: what is drawn where, and that it can be read."""

import jax.numpy as jnp
import numpy as np
from looked_at import faults, legend_of

from rnnjax.cells import VanillaCarry
from rnnjax.experiments.report import _fixed_points as figures, style
from rnnjax.flow import FixedPoints


def points(count=4, units=3):
    rng = np.random.default_rng(0)
    labels = np.array(["fixed", "fixed", "slow", "not converged"])[:count]
    eigenvalues = np.array([[0.5], [1.5], [0.9], [0.9]])[:count].astype(complex)
    states = VanillaCarry(jnp.asarray(rng.standard_normal((count, units))))
    ones = np.ones(count, int)
    return FixedPoints(states, np.zeros((count, 1)), labels, ones * 0.1, ones, eigenvalues, ones)


def drawn(*arguments):
    with style():
        return figures._draw(*arguments)


def test_points_lie_in_the_plane_of_the_trajectories():
    rng = np.random.default_rng(1)
    paths = rng.standard_normal((30, 2, 3)) * np.array([5.0, 1.0, 0.0])  # a plane: h_1, h_2
    found = points()
    figure = drawn(found, VanillaCarry(jnp.asarray(paths)))
    axis = figure.axes[0]
    assert [*legend_of(figure)] == ["stable", "unstable", "slow point"]
    assert not faults(figure)
    assert len(axis.lines) == 2 + 3
    stable = np.abs(np.ravel(axis.lines[2].get_xydata()))
    center = paths.reshape(-1, 3).mean(axis=0)
    basis = np.linalg.svd(paths.reshape(-1, 3) - center)[2][:2]
    want = np.abs((np.asarray(found.states.h[0]) - center) @ basis.T)
    np.testing.assert_allclose(stable, want, rtol=1e-9)
    assert axis.get_xlabel() == "Principal component 1 (96% of the variance)"


def test_one_unit_and_no_points_are_drawn_too():
    assert not faults(drawn(points(units=1), None))
    empty = drawn(points(count=0), None)
    assert [text.get_text() for text in empty.axes[0].texts] == ["no fixed points"]
