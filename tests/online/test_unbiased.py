"""The random approximations are the exact gradient on average."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import online

SEEDS = 3000


def gradient_of(cell, gradient, params, carry=None):
    xs = np.random.default_rng(1).normal(size=(4, 2))
    resets = jnp.array([False, False, True, False])

    def cost(params, carry):
        start = None if carry is None else carry
        last, ys = rnnjax.unroll(cell, params, xs, gradient=gradient, resets=resets, carry=start)
        return jnp.sum(jnp.sin(ys)) + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(last))

    return jax.grad(cost, (0,) if carry is None else (0, 1))(params, carry)


@pytest.mark.parametrize(
    ("make", "cell", "of_carry"),
    [(online.uoro, rnnjax.gru(2, reset="before"), True), (online.kf_rtrl, rnnjax.lstm(2), False)],
    ids=["uoro", "kf_rtrl"],
)
def test_mean_over_seeds_is_the_gradient(make, cell, of_carry):
    params = cell.init(jax.random.key(0), 2)
    carry = jax.tree.map(lambda leaf: leaf + 0.3, cell.initial_carry(params)) if of_carry else None
    exact = gradient_of(cell, rnnjax.autodiff(), params, carry)
    keys = jax.random.split(jax.random.key(2), SEEDS)
    many = jax.jit(jax.vmap(lambda key: gradient_of(cell, make(key), params, carry)))(keys)
    for got, want in zip(jax.tree.leaves(many), jax.tree.leaves(exact), strict=True):
        # 4.5 standard errors: one in 150 000 draws of a normal number is further away.
        spread = np.std(got, axis=0) / np.sqrt(SEEDS)
        assert spread.max() > 0
        np.testing.assert_array_less(np.abs(got.mean(0) - want), 4.5 * spread + 1e-12)
        assert spread.max() < 0.2 * np.abs(want).max()  # else any mean would do
