"""Lyapunov exponents as a loss: its derivatives, where directions are lost too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, normal
from looked_at import faults, legend_of

import rnnjax
from rnnjax.cells import VanillaParams
from rnnjax.experiments.report import _exponents as figure, style, write_exponents
from rnnjax.flow import flossing, lyapunov_spectrum
from rnnjax.flow._gram_schmidt import gram_schmidt

MU = np.array([1.5, -0.5, 0.1])
AXES = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]


def linear(mu=MU):
    """h = x + h W with W symmetric of these eigenvalues: the exponents are ln |μ_i|."""
    return rnnjax.vanilla(3, "identity"), VanillaParams(
        jnp.ones((1, 3)), jnp.asarray(AXES * mu[None] @ AXES.T), jnp.zeros(3)
    )


def slope(f, tree, along, step=1e-6):
    """The derivative of f along a direction, by central differences."""
    moved = [jax.tree.map(lambda x, d, s=s: x + s * d, tree, along) for s in (step, -step)]
    return (f(moved[0]) - f(moved[1])) / (2 * step)


def along(grads, direction):
    return sum(
        jnp.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (grads, direction)), strict=True)
    )


def test_a_linear_nets_gradient_in_closed_form():
    """λ_i = ln |μ_i|, dλ_i = v_iᵀ dW v_i / μ_i, so ∂L/∂W = 2/k Σ (λ_i - target) v_i v_iᵀ / μ_i."""
    cell, params = linear()
    run = jax.jit(
        jax.value_and_grad(
            lambda p: flossing(cell, p, jnp.ones((20, 2, 1)), 2, target=0.1, burn_in=18)
        )
    )
    loss, grads = run(params)
    distance = np.log(np.abs(MU[:2])) - 0.1
    np.testing.assert_allclose(loss, np.mean(distance**2), atol=1e-12)
    want = (AXES[:, :2] * (distance / MU[:2])[None]) @ AXES[:, :2].T
    np.testing.assert_allclose(grads.w_h, want, atol=1e-9)


def test_equal_exponents_in_closed_form(eager):
    """W = μ I, and all exponents from the first step on: L = (ln μ)², ∂L/∂W = 2/S ln μ / μ I."""
    cell, params = linear(np.full(3, 0.7))
    loss, grads = jax.value_and_grad(lambda p: flossing(cell, p, jnp.ones((5, 1)), 3))(params)
    np.testing.assert_allclose(loss, np.log(0.7) ** 2, rtol=1e-12)
    np.testing.assert_allclose(grads.w_h, 2 / 3 * np.log(0.7) / 0.7 * np.eye(3), atol=1e-12)


CASES = {
    "tanh": (lambda: rnnjax.vanilla(3), 2, {}),
    "lstm, all exponents, burn-in": (lambda: rnnjax.lstm(2), 4, {"burn_in": 2}),
    "a target each, lengths": (
        lambda: rnnjax.gru(3),
        2,
        {"target": jnp.array([0.0, -1.0]), "lengths": jnp.array([6, 4])},
    ),
    "resets": (
        lambda: rnnjax.vanilla(3),
        2,
        {"resets": jnp.zeros((6, 2), bool).at[3, 0].set(True), "burn_in": 1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_against_finite_differences(eager, case):
    make, k, options = CASES[case]
    cell = make()
    params, xs = drawn(cell, 1), normal(1, 6, 2, 1)
    f = lambda p: flossing(cell, p, xs, k, **options)  # noqa: E731
    direction = jax.tree.map(lambda x: normal(3, *x.shape), params)
    got = along(jax.grad(f)(params), direction)
    np.testing.assert_allclose(got, slope(f, params, direction), rtol=1e-6)


def test_more_exponents_than_rank(eager):
    """ReLU units that are off: the Jacobians have rank 2, and the rest is the loss of those."""
    cell = rnnjax.vanilla(4, "relu")
    params = drawn(cell, 1)._replace(b=jnp.array([9.0, 9.0, -99.0, -99.0]))
    xs = 0.1 * normal(1, 6, 1)
    assert np.isneginf(lyapunov_spectrum(cell, params, xs)).tolist() == [False] * 2 + [True] * 2
    f = lambda p: flossing(cell, p, xs, 3)  # noqa: E731
    grads, direction = jax.grad(f)(params), jax.tree.map(lambda x: normal(3, *x.shape), params)
    np.testing.assert_allclose(along(grads, direction), slope(f, params, direction), rtol=1e-6)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_nothing_left_to_floss(eager):
    cell = rnnjax.vanilla(2, "relu")
    params = drawn(cell, 1)._replace(b=jnp.full(2, -99.0))
    loss, grads = jax.value_and_grad(lambda p: flossing(cell, p, jnp.ones((3, 1)), 2))(params)
    assert loss == 0
    assert all(np.all(g == 0) for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_growth_beyond_the_squares_of_floats(eager, scale):
    cell, params = linear(np.full(3, scale))
    loss = flossing(cell, params, jnp.zeros((2, 1)), 3)
    np.testing.assert_allclose(loss, np.log(scale) ** 2, rtol=1e-12)


def test_what_is_not_finite_is_not_left_out():
    cell, params = linear()
    xs, lengths = jnp.ones((4, 2, 1)), jnp.array([4, 0])
    loss = flossing(cell, params, xs, 1, lengths=lengths)
    np.testing.assert_allclose(loss, flossing(cell, params, xs, 1), rtol=1e-12)
    broken = params._replace(w_h=params.w_h.at[0, 0].set(jnp.nan))
    assert np.isnan(flossing(cell, broken, xs, 1, lengths=lengths))


@pytest.mark.parametrize("place", range(3))
def test_a_dependent_column_is_left_out_wherever_it_stands(eager, place):
    """Zero, or in the span of those before it; the others are factored as without it."""
    a = normal(0, 2, 4, 2)
    dependent = jnp.stack([jnp.zeros(4), 2 * a[1, :, 0]])[:, :, None] * (place > 0)
    whole = jnp.concatenate([a[..., :place], dependent, a[..., place:]], axis=-1)
    (q, growth), (q_alone, growth_alone) = gram_schmidt(whole), gram_schmidt(a)
    others = np.delete(np.arange(3), place)
    assert np.all(q[..., place] == 0)
    assert np.all(growth[..., place] == -np.inf)
    np.testing.assert_allclose(q[..., others], q_alone, atol=1e-14)
    np.testing.assert_allclose(growth[..., others], growth_alone, atol=1e-14)


def test_a_direction_lost_at_one_step_leaves_the_others(eager):
    """J_1 = e_1 e_1ᵀ + e_2 e_3ᵀ has rank 2, and so has J_2 J_1 = 2 J_1: two exponents are finite.

    The direction of LAPACK's choice in the place of the lost one would take that of the second.
    """
    step = jnp.array([[1.0, 0, 0], [0, 0, 0], [0, 1, 0]])  # h W: rows are where a unit's state goes

    def run(params, carry, x_t):
        h = carry.h @ jnp.where(x_t[0] > 0, step, 2 * jnp.eye(3))
        return carry._replace(h=h), h

    vanilla = rnnjax.vanilla(3)
    cell = rnnjax.Cell(vanilla.init, vanilla.initial_carry, run)
    found = lyapunov_spectrum(cell, linear()[1], jnp.array([[1.0], [0.0]]))
    np.testing.assert_allclose(found, [np.log(2) / 2, np.log(2) / 2, -np.inf], rtol=1e-14)


def test_forward_mode_and_second_derivatives_of_the_factors(eager):
    a, da = normal(0, 4, 3), normal(1, 4, 3)
    f = lambda x: gram_schmidt(x)[1].sum() + gram_schmidt(x)[0][0].sum()  # noqa: E731
    d = lambda x: jax.jvp(f, (x,), (da,))[1]  # noqa: E731
    np.testing.assert_allclose(d(a), slope(f, a, da), rtol=1e-7)
    np.testing.assert_allclose(jnp.vdot(jax.grad(d)(a), da), slope(d, a, da), rtol=1e-6)


def test_wrong_targets_are_refused():
    cell, params = linear()
    with pytest.raises(
        ValueError, match=r"target must be a number or have the shape \[k\] = \[2\]"
    ):
        flossing(cell, params, jnp.ones((3, 1)), 2, target=jnp.zeros(3))
    with pytest.raises(TypeError, match=r"target must be a number, or one for each exponent"):
        flossing(cell, params, jnp.ones((3, 1)), 2, target="zero")


def test_the_figure_can_be_read(tmp_path):
    with style():
        drawn_figure = figure._draw(
            {"flossed": np.array([[0.0, -0.1], [0.1, -0.3]]), "not": np.array([[-1.0, -2.0]])},
            {"flossed": (np.array([50, 100]), np.array([[50.0, 90.0], [60.0, 100.0]]))},
            "Accuracy (%)",
            "sequences",
        )
    assert not faults(drawn_figure)
    assert [*legend_of(drawn_figure)][:3] == ["flossed", "not", "neither grows nor shrinks"]
    assert "range over sequences (line: mean)" in legend_of(drawn_figure)
    learned, spectra = drawn_figure.axes
    np.testing.assert_allclose(learned.lines[0].get_ydata(), [55.0, 95.0])
    np.testing.assert_allclose(spectra.lines[1].get_ydata(), [0.05, -0.2])
    with pytest.raises(ValueError, match=r"curves\['x'\] must be \(steps \[n\], values \[n\] or"):
        write_exponents({}, tmp_path / "x.png", curves={"x": ([1, 2], [1.0])})
    with pytest.raises(ValueError, match=r"exponents\['x'\] must be \[k\] or \[rows, k\]"):
        write_exponents({"x": np.zeros((2, 2, 2))}, tmp_path / "x.png")
