"""‖∂y_t/∂x_k‖: against the whole Jacobian by reverse mode."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, normal

import rnnjax
from rnnjax.flow import sensitivity

eagerly = pytest.mark.usefixtures("eager")

T, B, D, H = 5, 2, 2, 4


@partial(jax.jit, static_argnums=0)
def by_reverse_mode(cell, params, xs, carry=None):
    """One sequence [T, D], its whole Jacobian [T, H, T, D]."""

    def outputs(xs):
        return rnnjax.unroll(cell, params, xs, carry=carry, gradient=rnnjax.autodiff())[1]

    return jnp.sqrt(jnp.sum(jax.jacrev(outputs)(xs) ** 2, axis=(1, 3)))


@pytest.mark.parametrize(
    "cell",
    [rnnjax.lstm(H), rnnjax.stack(rnnjax.gru(2), rnnjax.vanilla(H)), rnnjax.identity_rnn(H)],
    ids=["lstm", "stack", "identity"],
)
def test_is_the_norm_of_each_block_of_the_jacobian(cell):
    params = drawn(cell, D)
    xs = normal(1, T, B, D)
    carry = jax.tree.map(lambda leaf: leaf + 0.4, cell.initial_carry(params, (B,)))
    found = sensitivity(cell, params, xs, carry=carry)
    for b in range(B):
        want = by_reverse_mode(
            cell, params, xs[:, b], jax.tree.map(lambda leaf, b=b: leaf[b], carry)
        )
        np.testing.assert_allclose(found[..., b], want, rtol=0, atol=1e-13)
    assert np.all(np.asarray(found)[np.triu_indices(T, 1)] == 0)
    assert np.all(np.asarray(found)[np.tril_indices(T)] > 0)


@eagerly
def test_padding_neither_remembers_nor_is_remembered():
    cell = rnnjax.gru(H)
    params = drawn(cell, D)
    xs = normal(1, T, B, D).at[4:, 1].set(jnp.nan)
    found = np.asarray(sensitivity(cell, params, xs, lengths=np.array([T, 4])))
    want = by_reverse_mode(cell, params, xs[:4, 1])
    np.testing.assert_allclose(found[:4, :4, 1], want, rtol=0, atol=1e-13)
    assert np.all(found[4:, :, 1] == 0)
    assert np.all(found[:, 4:, 1] == 0)
    np.testing.assert_allclose(found[..., 0], by_reverse_mode(cell, params, xs[:, 0]), atol=1e-13)


def test_it_does_not_underflow():
    """0.01^150: the square of 1e-300 is no float, but its norm is."""
    cell = rnnjax.vanilla(1, "identity")
    params = rnnjax.cells.VanillaParams(jnp.ones((1, 1)), jnp.full((1, 1), 0.01), jnp.zeros(1))
    found = sensitivity(cell, params, jnp.ones((151, 1)))
    np.testing.assert_allclose(found[150, 0], 1e-300, rtol=1e-12)


@eagerly
def test_errors():
    cell = rnnjax.vanilla(H)
    params = drawn(cell, D)
    with pytest.raises(TypeError, match="xs must be one array"):
        sensitivity(cell, params, (jnp.ones((T, D)),))
    timed = rnnjax.ctrnn(H)
    with pytest.raises(
        TypeError, match=r"got a tuple .* wrap the cell: rnnjax\.fixed_dt\(cell, dt"
    ):
        sensitivity(timed, drawn(timed, D), (jnp.ones((T, D)), jnp.ones(T)))
    with pytest.raises(TypeError, match="derivatives with respect to floating-point features"):
        sensitivity(cell, params, jnp.ones((T, D), int))


@eagerly
def test_no_output_depends_on_an_earlier_episode():
    cell = rnnjax.gru(H)
    params, xs = drawn(cell, D), normal(1, T, B, D)
    resets = np.zeros((T, B), bool)
    resets[2, 0] = True
    found = np.asarray(sensitivity(cell, params, xs, resets=resets))
    np.testing.assert_allclose(found[..., 1], by_reverse_mode(cell, params, xs[:, 1]), atol=1e-13)
    assert not found[2:, :2, 0].any()
    alone = by_reverse_mode(cell, params, xs[2:, 0])
    np.testing.assert_allclose(found[2:, 2:, 0], alone, atol=1e-13)
