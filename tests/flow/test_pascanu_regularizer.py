"""Ω of Pascanu et al. against closed forms, products of Jacobians and central differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, normal

import rnnjax
from rnnjax.flow import jacobians, pascanu_ratios, pascanu_regularizer, record

T, B, D, H = 5, 2, 2, 3


def last(carry, ys):
    return jnp.sum(jnp.sin(ys[-1]))


def every(carry, ys):
    return jnp.sum(carry.h**3) + jnp.sum(jnp.sin(ys))


def test_orthogonal_weights_keep_the_norm_of_a_linear_nets_error():
    cell = rnnjax.vanilla(H, "identity")
    params, xs = drawn(cell, D), normal(1, T, B, D)
    orthogonal = jnp.asarray(np.linalg.qr(np.asarray(params.w_h))[0])
    for scale in (1.0, 1.5):
        there = params._replace(w_h=scale * orthogonal)
        omega = pascanu_regularizer(cell, there, xs, last)
        np.testing.assert_allclose(omega, [T * (scale - 1) ** 2] * B, atol=1e-12)


def test_every_term_is_the_ratio_of_norms_through_one_jacobian():
    cell = rnnjax.vanilla(H)
    params, xs = drawn(cell, D), normal(1, T, B, D)
    options = {"lengths": jnp.array([4, 5]), "resets": jnp.zeros((T, B), bool).at[2, 1].set(True)}
    errors = record(cell, params, xs, every, **options).carry_ct.h
    back = np.einsum("tbi,tbij->tbj", errors, jacobians(cell, params, xs, **options))
    ratios = np.linalg.norm(back, axis=-1) / np.maximum(np.linalg.norm(errors, axis=-1), 1e-99)
    counts = np.ones((T, B), bool)
    counts[4, 0] = counts[2, 1] = False  # padding; the first step of an episode
    got = pascanu_ratios(cell, params, xs, every, **options)
    np.testing.assert_allclose(got, np.where(counts, ratios, np.nan), rtol=1e-12)
    want = np.sum((ratios - 1) ** 2 * counts, axis=0)
    for derivative in ("immediate", "full"):
        omega = pascanu_regularizer(cell, params, xs, every, derivative=derivative, **options)
        np.testing.assert_allclose(omega, want, rtol=1e-12)


def test_the_state_of_an_lstm_is_both_of_its_fields():
    cell = rnnjax.lstm(H)
    params, xs = drawn(cell, D), normal(1, T, D)
    steps, error, want = np.asarray(jacobians(cell, params, xs)), np.zeros(2 * H), 0.0
    ys = rnnjax.unroll(cell, params, xs)[1]
    for t in reversed(range(T)):
        error[:H] += np.cos(ys[t])
        back = error @ steps[t]
        want += (np.linalg.norm(back) / np.linalg.norm(error) - 1) ** 2
        error = back
    omega = pascanu_regularizer(cell, params, xs, lambda carry, ys: jnp.sum(jnp.sin(ys)))
    np.testing.assert_allclose(omega, want, rtol=1e-12)


def difference(function, w, along, size=1e-6):
    """The derivative of `function` in a direction."""
    ahead = jax.tree.map(lambda p, d: p + size * d, w, along)
    behind = jax.tree.map(lambda p, d: p - size * d, w, along)
    return (function(ahead) - function(behind)) / (2 * size)


@pytest.mark.parametrize("cell", [rnnjax.vanilla(H), rnnjax.lru(2)], ids=["vanilla", "lru"])
def test_the_full_derivative(cell):
    params, xs = drawn(cell, D), normal(1, T, D)

    def omega(params):
        return pascanu_regularizer(cell, params, xs, last, derivative="full")

    along = jax.tree.map(lambda leaf: normal(leaf.size, *leaf.shape), params)
    got = jax.tree.map(lambda ct, d: jnp.sum(ct * d), jax.grad(omega)(params), along)
    np.testing.assert_allclose(sum(got), difference(omega, params, along), rtol=1e-7)


def test_the_immediate_derivative_moves_the_recurrent_weights_alone():
    cell = rnnjax.vanilla(H)
    params, xs = drawn(cell, D), normal(1, T, D)
    errors, h = record(cell, params, xs, every).carry_ct.h, rnnjax.unroll(cell, params, xs)[1]

    def by_hand(w_h):  # errors and φ' as the forward pass at `params` leaves them
        back = np.asarray(errors * (1 - h**2)) @ np.asarray(w_h).T
        sizes = np.linalg.norm(back, axis=-1) / np.linalg.norm(errors, axis=-1)
        return np.sum((sizes - 1) ** 2)

    omega, got = jax.value_and_grad(lambda p: pascanu_regularizer(cell, p, xs, every))(params)
    np.testing.assert_allclose(omega, by_hand(params.w_h), rtol=1e-12)
    direction = normal(2, H, H)
    want = difference(by_hand, params.w_h, direction)
    np.testing.assert_allclose(jnp.sum(got.w_h * direction), want, rtol=1e-7)
    assert not np.any(got.w_x)
    assert not np.any(got.b)


def test_units_that_are_dead_leave_no_nan():
    cell = rnnjax.vanilla(H, "relu")
    params, xs = drawn(cell, D), normal(1, T, D)
    params = params._replace(b=jnp.full(H, -9.0))
    for derivative in ("immediate", "full"):
        value, found = jax.value_and_grad(
            lambda p, d=derivative: pascanu_regularizer(cell, p, xs, last, derivative=d)
        )(params)
        assert value == 1.0  # the step from which nothing comes back; the others have no error
        assert not any(np.any(leaf) for leaf in found)  # nor NaN, which is true


def test_cells_that_it_is_not_defined_for():
    deep = rnnjax.stack(rnnjax.vanilla(H), rnnjax.gru(H))
    with pytest.raises(ValueError, match=r"2 differentiable leaves.*Structure"):
        pascanu_regularizer(deep, drawn(deep, D), normal(1, T, D), last)
    plain = rnnjax.vanilla(H)._replace(rule=None)
    with pytest.raises(ValueError, match="one of 'immediate', 'full', got 'fully'"):
        pascanu_regularizer(plain, drawn(plain, D), normal(1, T, D), last, derivative="fully")
    with pytest.raises(ValueError, match="has no rule: use derivative='full'"):
        pascanu_regularizer(plain, drawn(plain, D), normal(1, T, D), last)


@pytest.mark.parametrize("derivative", ["immediate", "full"])
def test_an_error_that_is_not_finite_is_no_error_that_is_kept(derivative):
    cell = rnnjax.vanilla(H)
    xs = normal(1, T, B, D).at[0, 0, 0].set(np.nan)
    omega = pascanu_regularizer(cell, drawn(cell, D), xs, last, derivative=derivative)
    assert np.isnan(omega).tolist() == [True, False]
