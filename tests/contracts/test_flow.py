"""The gradient-flow laboratory over every cell: real and complex states, matrices and pictures."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_table import ROWS, B, T
from op_by_op import op_by_op
from problems import at, is_inexact, problem

from rnnjax import flow

STEPS = 2


def split(tree):
    """The differentiable leaves of one example's carry as a real vector, and the way back."""
    leaves, structure = jax.tree.flatten(tree)
    places = [i for i, leaf in enumerate(leaves) if is_inexact(leaf)]

    def join(vector):
        new, begin = list(leaves), 0
        for i in places:
            size, shape = leaves[i].size, leaves[i].shape
            part, begin = vector[begin : begin + size], begin + size
            if jnp.iscomplexobj(leaves[i]):
                part, begin = part + 1j * vector[begin : begin + size], begin + size
            new[i] = part.reshape(shape)
        return jax.tree.unflatten(structure, new)

    return vector_of(tree), join


def vector_of(tree):
    parts = []
    for leaf in jax.tree.leaves(tree):
        if is_inexact(leaf):
            flat = leaf.reshape(-1)
            parts += [flat.real, flat.imag] if jnp.iscomplexobj(flat) else [flat]
    return jnp.concatenate(parts)


@pytest.mark.parametrize("name", ROWS)
def test_jacobians_are_those_of_the_step_alone(name):
    cell, params, xs, carry, _ = problem(name)
    if ROWS[name].random:
        carry = cell.initial_carry(params, (B,), jax.random.key(3))
    xs = at(xs, slice(STEPS))
    with op_by_op():
        got = flow.jacobians(cell, params, xs, carry=carry)
        now = at(carry, 1)
        for t in range(STEPS):
            vector, join = split(now)
            x_t = at(xs, t, 1)

            def moved(vector, join=join, x_t=x_t):
                return vector_of(cell.step(params, join(vector), x_t)[0])

            want = jax.jacrev(moved)(vector)
            np.testing.assert_allclose(got[t, 1], want, rtol=1e-10, atol=1e-12)
            now = cell.step(params, now, x_t)[0]


@pytest.mark.parametrize("name", ROWS)
def test_record_knows_the_axes_of_every_state(name):
    cell, params, xs, carry, _ = problem(name)

    def cost(last, ys):
        del ys
        return sum(jnp.sum(jnp.abs(leaf) ** 2) for leaf in jax.tree.leaves(last))

    with op_by_op():
        recording = flow.record(cell, params, xs, cost, carry=carry)
    norms = flow.gradient_norms(recording)
    chex.assert_shape(norms, (T, B))
    # At the last step only the direct path is left where no leaf is computed from another.
    last_ct = jax.tree.map(lambda leaf: leaf[-1], recording.carry_ct)
    for leaf, got in zip(jax.tree.leaves(carry), jax.tree.leaves(last_ct), strict=True):
        chex.assert_equal_shape([leaf, got])
    squares = sum(
        np.sum(np.abs(np.asarray(leaf)) ** 2, axis=tuple(range(2, leaf.ndim)))
        for leaf in jax.tree.leaves(recording.carry_ct)
    )
    np.testing.assert_allclose(norms, np.sqrt(squares), rtol=1e-12)
    assert np.all(norms[-1] > 0)


@pytest.mark.parametrize("name", ["lru", "delta_net", "conv_lstm", "stack_of_linear"])
def test_spectra_have_one_exponent_for_every_real_number_of_the_state(name):
    cell, params, xs, carry, _ = problem(name)
    size = vector_of(at(carry, 0)).size
    spectrum = flow.lyapunov_spectrum(cell, params, xs, carry=carry)
    chex.assert_shape(spectrum, (B, size))
    if name == "lru":  # a complex exponent counts twice: ln |λ| = -exp(ν)
        want = np.sort(np.repeat(-np.exp(np.asarray(params.nu_log)), 2))[::-1]
        np.testing.assert_allclose(spectrum, np.broadcast_to(want, spectrum.shape), rtol=1e-9)
