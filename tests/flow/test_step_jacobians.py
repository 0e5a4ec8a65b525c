"""J_t = ∂s_t/∂s_{t-1}: against closed forms, blocks, products and the recorded signal."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, normal, recorded

import rnnjax
from rnnjax.flow import gradient_norms, jacobians
from rnnjax.running import leaf_indices

pytestmark = pytest.mark.usefixtures("eager")

T, B, D, H = 5, 2, 3, 4


def problem(cell, batch=(B,)):
    return drawn(cell, D), normal(1, T, *batch, D)


def test_vanilla_is_diagonal_times_transposed_weights():
    """∂h_t[i]/∂h_{t-1}[j] = φ'(z_t[i]) W_h[j, i]"""
    cell = rnnjax.vanilla(H)
    params, xs = problem(cell)
    _, ys = rnnjax.unroll(cell, params, xs)
    want = (1 - ys**2)[..., :, None] * params.w_h.T[None, None]
    np.testing.assert_allclose(jacobians(cell, params, xs), want, rtol=0, atol=1e-15)


def test_lstm_blocks_are_jacrev_of_the_step_example_by_example():
    cell = rnnjax.lstm(H)
    params, xs = problem(cell)
    every, h_block = (jacobians(cell, params, xs, leaf=leaf) for leaf in (None, "h"))
    c_block = jacobians(cell, params, xs, leaf="c")
    of_step = jax.jit(jax.jacrev(lambda carry, x_t: cell.step(params, carry, x_t)[0]))
    for b in range(B):
        carry = cell.initial_carry(params, ())
        for t in range(T):
            step = of_step(carry, xs[t, b])
            want = np.block([[step.h.h, step.h.c], [step.c.h, step.c.c]])
            np.testing.assert_allclose(every[t, b], want, rtol=0, atol=1e-14)
            np.testing.assert_allclose(h_block[t, b], step.h.h, rtol=0, atol=1e-14)
            np.testing.assert_allclose(c_block[t, b], step.c.c, rtol=0, atol=1e-14)
            carry, _ = cell.step(params, carry, xs[t, b])


def test_they_carry_the_signal_back():
    """For a cost of the last state: ∂C/∂s_{t-1} = J_tᵀ ∂C/∂s_t, from the carry that is given."""
    cell = rnnjax.stack(rnnjax.vanilla(2), rnnjax.gru(3))
    params, xs = problem(cell)
    carry = jax.tree.map(lambda x: x + 0.3, cell.initial_carry(params, (B,)))

    def cost(carry, ys):
        return jnp.sum(carry[0].h ** 2) + jnp.sum(jnp.sin(carry[1].h + 0.1))

    low, high = recorded(cell, params, xs, cost, carry=carry).carry_ct
    J = jacobians(cell, params, xs, carry=carry)
    # In a stack the lower h_t also reaches the upper h_t within the step, as a total derivative
    # counts; the states' own signal at t - 1 is what remains when step t has been undone.
    last, _ = rnnjax.unroll(cell, params, xs, carry=carry)
    signal = jnp.concatenate([2 * last[0].h, jnp.cos(last[1].h + 0.1)], axis=-1)
    for t in reversed(range(T)):
        signal = jnp.einsum("bij,bi->bj", J[t], signal)
        if t == 0:
            break
        np.testing.assert_allclose(signal[:, 2:], high.h[t - 1], rtol=0, atol=1e-13)
    want = jax.jit(jax.grad(lambda c: cost(*rnnjax.unroll(cell, params, xs, carry=c))))(carry)
    np.testing.assert_allclose(signal, jnp.concatenate([want[0].h, want[1].h], -1), atol=1e-13)
    assert np.abs(low.h[-1] - 2 * last[0].h).max() > 1e-3


def test_keys_are_held_and_no_batch_or_two_batch_dimensions_work():
    cell = rnnjax.zoneout(rnnjax.vanilla(H), h=0.5)
    params, xs = problem(cell, (2, 3))
    carry = cell.initial_carry(params, (2, 3), jax.random.key(5))
    J = jacobians(cell, params, xs, carry=carry)
    alone = jacobians(
        cell, params, xs[:, 1, 2], carry=jax.tree.map(lambda leaf: leaf[1, 2], carry), leaf="h"
    )
    np.testing.assert_allclose(J[:, 1, 2], alone, rtol=0, atol=1e-15)
    kept = np.isclose(np.asarray(alone), np.eye(H)).all(-1)  # units that keep their state
    assert 0 < kept.sum() < kept.size


def test_an_unknown_leaf_names_the_leaves():
    cell = rnnjax.lstm(H)
    params, xs = problem(cell)
    with pytest.raises(ValueError, match=r"got 'm': its differentiable leaves are \.h, \.c"):
        jacobians(cell, params, xs, leaf="m")
    with pytest.raises(TypeError, match="leaf must be the name of a field"):
        jacobians(cell, params, xs, leaf=0)
    with pytest.raises(TypeError, match="cells read floating-point features"):
        jacobians(cell, params, jnp.ones((T, B, D), int))


def test_leaves_are_named_by_their_places_too():
    """Every name that the error lists chooses what it names: in a tuple, a stack and a dict."""
    stack = rnnjax.stack(rnnjax.lstm(2), rnnjax.gru(3))
    params, xs = problem(stack)
    every = jacobians(stack, params, xs)
    blocks = {"[0].h": [0, 1], "[0].c": [2, 3], "[0]": [0, 1, 2, 3], "[1].h": [4, 5, 6]}
    for leaf, rows in blocks.items():
        found = jacobians(stack, params, xs, leaf=leaf)
        np.testing.assert_allclose(found, every[..., rows, :][..., rows], rtol=0, atol=1e-14)
    recording = recorded(stack, params, xs, lambda carry, ys: jnp.sum(ys[-1] ** 2))
    want = np.linalg.norm(recording.carry_ct[0].c, axis=-1)
    np.testing.assert_allclose(gradient_norms(recording, "[0].c"), want, rtol=1e-14)
    names = {"[0]": ("a", "b"), "['a']": {"a": "a", "b": "b"}, ".h": rnnjax.LSTMCarry("a", "b")}
    for leaf, tree in names.items():
        floats = jax.tree.map(lambda _: jnp.ones(2), tree)
        assert leaf_indices(floats, leaf) == (0,)
        with pytest.raises(ValueError, match=re.escape(f"leaves are {leaf}, ")):
            leaf_indices(floats, "m")
    with pytest.raises(ValueError, match=r"the carry is one array without fields, got leaf='h'"):
        leaf_indices(jnp.ones(2), "h")


def test_padding_keeps_the_state_and_a_reset_forgets_it():
    cell = rnnjax.lstm(2)
    params, xs = drawn(cell, 1), normal(1, 6, 2, 1)
    lengths, resets = jnp.array([6, 4]), jnp.zeros((6, 2), bool).at[2].set(True)
    poisoned = jnp.where(jnp.arange(6)[:, None, None] < lengths[:, None], xs, jnp.nan)
    found = jacobians(cell, params, poisoned, lengths=lengths, resets=resets)
    for example, last in ((0, 6), (1, 4)):
        first = jacobians(cell, params, xs[:2, example])
        second = jacobians(cell, params, xs[2:last, example])
        second = second.at[0].set(0)
        rest = jnp.tile(jnp.eye(4), (6 - last, 1, 1))
        want = jnp.concatenate([first, second, rest])
        np.testing.assert_allclose(found[:, example], want, rtol=1e-12, atol=1e-14)
