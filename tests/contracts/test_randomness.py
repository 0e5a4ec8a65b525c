"""What dropout and zoneout promise of their masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_table import RANDOM, B, T
from problems import assert_close, at, noisy, problem

import rnnjax
from rnnjax import Cell, unroll

INNER = {
    "input_dropout": rnnjax.gru(4),
    "input_dropout_same_mask": rnnjax.lstm(4),
    "recurrent_dropout": rnnjax.lstm(4),
}


@pytest.mark.parametrize("name", RANDOM)
def test_evaluation_is_deterministic_and_training_follows_the_key(name):
    cell, params, xs, _, key = problem(name)
    first, again = (unroll(cell, params, xs)[1] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    if name in INNER:  # dropout does nothing then
        assert_close(first, unroll(INNER[name], params, xs)[1], 1e-13)
    trained, same = (unroll(cell, params, xs, key=key)[1] for _ in range(2))
    np.testing.assert_array_equal(trained, same)
    other = unroll(cell, params, xs, key=jax.random.key(99))[1]
    assert np.abs(trained - other).max() > 1e-3
    assert np.abs(trained - first).max() > 1e-3


@pytest.mark.parametrize("name", RANDOM)
def test_examples_draw_apart_and_halves_continue(name):
    cell, params, xs, _, key = problem(name)
    alike = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:, :1], leaf.shape), xs)
    ys = unroll(cell, params, alike, key=key)[1]
    assert np.abs(ys[:, 0] - ys[:, 1]).max() > 1e-4
    whole, ys = unroll(cell, params, xs, key=key)
    middle, first = unroll(cell, params, at(xs, slice(2)), key=key)
    last, second = unroll(cell, params, at(xs, slice(2, None)), carry=middle)
    assert_close((last, jnp.concatenate([first, second])), (whole, ys), 1e-13)


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
@pytest.mark.parametrize("name", RANDOM)
def test_an_examples_draws_are_its_own_whatever_the_kind_of_key(name, impl):
    cell, params, xs, *_ = problem(name)
    carry = cell.initial_carry(params, (B,), jax.random.key(3, impl=impl))
    together = unroll(cell, params, xs, carry=carry)[1]
    few = jax.tree.map(lambda leaf: leaf[1:3], carry)
    alone = unroll(cell, params, at(xs, slice(None), slice(1, 3)), carry=few)[1]
    assert_close(alone, together[:, 1:3], 1e-13)


def echo(features: int) -> Cell:
    """Outputs its input: shows the mask on it."""

    def step(params, carry, x_t):
        return carry, params * x_t

    return Cell(lambda key, size: jnp.ones(()), lambda params, batch, key=None: (), step)


@pytest.mark.parametrize("same_mask", [False, True])
def test_input_masks(same_mask):
    steps, batch, features, rate = 20, 200, 10, 0.3
    cell = rnnjax.input_dropout(echo(features), rate, same_mask=same_mask)
    ys = unroll(cell, jnp.ones(()), jnp.ones((steps, batch, features)), key=jax.random.key(0))[1]
    kept = np.asarray(ys) > 0
    np.testing.assert_allclose(np.unique(ys), [0, 1 / (1 - rate)], rtol=1e-12)
    constant = (kept == kept[0]).all()
    assert constant == same_mask
    independent = batch * features * (1 if same_mask else steps)
    spread = np.sqrt(rate * (1 - rate) / independent)
    assert abs(kept.mean() - (1 - rate)) < 4 * spread  # so the mean of the inputs is kept
    assert abs(np.corrcoef(kept[0, :-1].ravel(), kept[0, 1:].ravel())[0, 1]) < 0.1  # neighbours
    if not same_mask:
        assert abs(np.corrcoef(kept[0].ravel(), kept[1].ravel())[0, 1]) < 0.1


def test_recurrent_mask_is_one_for_all_steps():
    batch, hidden, rate = 300, 10, 0.4
    cell = rnnjax.recurrent_dropout(rnnjax.vanilla(hidden, "identity"), rate)
    params = rnnjax.cells.VanillaParams(jnp.zeros((1, hidden)), jnp.eye(hidden), jnp.zeros(hidden))
    carry = cell.initial_carry(params, (batch,), jax.random.key(1))
    carry = carry._replace(cell=carry.cell._replace(h=jnp.ones((batch, hidden))))
    ys = np.asarray(unroll(cell, params, jnp.zeros((T, batch, 1)), carry=carry)[1])
    # With W_h = I, h_t = (m / (1 - rate))^t: a unit is dropped at once or never.
    kept = ys[0] > 0
    for t in range(T):
        np.testing.assert_allclose(ys[t], kept * (1 - rate) ** -(t + 1.0), rtol=1e-12)
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / kept.size)


def test_zoneout_keeps_units_at_its_rate_and_evaluates_the_mean():
    batch, hidden, rate = 300, 10, 0.3
    cell = rnnjax.zoneout(rnnjax.identity_rnn(hidden), h=rate)
    params = rnnjax.cells.IdentityParams(jnp.ones((1, hidden)))
    xs = jnp.ones((8, batch, 1))
    ys = np.asarray(unroll(cell, params, xs, key=jax.random.key(2))[1])
    moves = np.diff(ys, axis=0)  # a unit that is not kept grows by one
    np.testing.assert_allclose(np.unique(moves), [0, 1], atol=1e-12)
    assert abs((moves == 0).mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / moves.size)
    assert abs(np.corrcoef(moves[0].ravel(), moves[1].ravel())[0, 1]) < 0.1
    mean = np.asarray(unroll(cell, params, xs)[1])
    np.testing.assert_allclose(mean[:, 0, 0], (1 - rate) * np.arange(1, 9), rtol=1e-12)


def test_lengths_and_resets_leave_the_masks_of_others_alone():
    cell, params, xs, _, key = problem("zoneout_lstm")
    plain = unroll(cell, params, xs, key=key)[1]
    lengths = jnp.full(B, T).at[1].set(2)
    resets = jnp.zeros((T, B), bool).at[2, 2].set(True)
    ys = unroll(cell, params, xs, key=key, lengths=lengths, resets=resets)[1]
    assert_close(ys[:, 0], plain[:, 0], 1e-13)
    assert_close(ys[:2, 1], plain[:2, 1], 1e-13)
    assert_close(ys[:2, 2], plain[:2, 2], 1e-13)


@pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])
def test_either_kind_of_key(raw):
    cell, params, xs, *_ = problem("input_dropout")
    key = jax.random.PRNGKey(3) if raw else jax.random.key(3)
    ys = unroll(cell, params, noisy(4, xs), key=key)[1]
    want = unroll(cell, params, noisy(4, xs), key=jax.random.key(3))[1]
    np.testing.assert_array_equal(ys, want)


def test_nested_cells_draw_independently():
    """The key of an outer cell is not the key of the cell inside it."""
    size, batch = 64, (16,)
    inner = rnnjax.recurrent_dropout(rnnjax.lstm(size), 0.5)
    cell = rnnjax.input_dropout(rnnjax.input_dropout(inner, 0.5), 0.5)
    params = cell.init(jax.random.key(0), size)
    outer = cell.initial_carry(params, batch, jax.random.key(1))
    keys = [jax.random.key_data(carry.keys) for carry in (outer, outer.cell)]
    assert not np.any(np.all(keys[0] == keys[1], axis=-1))
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, (size,)))
    masks = [kept(outer.keys), kept(outer.cell.keys), outer.cell.cell.kept]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        agreement = float(jnp.mean(masks[first] == masks[second]))
        assert abs(agreement - 0.5) < 0.08  # 5 standard deviations of 1024 fair coins
