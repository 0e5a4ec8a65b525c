"""An output at every step: the loop written out, streams, and the state that batches hand on."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenario_nets import (
    CELLS,
    LENGTHS,
    RAGGED,
    B,
    D,
    E,
    H,
    K,
    T,
    V,
    assert_close,
    dense,
    embedding,
    head,
    noisy,
    outputs_by_loop,
    params_of,
    table,
    words,
)

import rnnjax
from rnnjax import scenarios

pytestmark = pytest.mark.usefixtures("eager")


@pytest.mark.parametrize("name", CELLS)
def test_is_the_loop(name):
    model = scenarios.many_to_many(CELLS[name], head())
    xs = noisy(1, (T, B, D))
    params = params_of(model.init, xs)
    carry, outputs = jax.jit(model.apply)(params, xs, lengths=LENGTHS)
    for b, n in enumerate(LENGTHS):
        last, ys = outputs_by_loop(name, params.layer, xs[:n, b])
        assert_close(outputs[:n, b], dense(params.head, ys))
        assert not np.asarray(outputs)[n:, b].any()
        assert_close(jax.tree.map(lambda leaf, b=b: leaf[b], carry), last)


def test_reads_words():
    model = scenarios.many_to_many(CELLS["lstm"], head(V), embed=embedding())
    ids = words(2, (T, B))
    params = params_of(model.init, ids)
    _, outputs = jax.jit(model.apply)(params, ids)
    for b in range(B):
        _, ys = outputs_by_loop("lstm", params.layer, table(params.embed)[np.asarray(ids[:, b])])
        assert_close(outputs[:, b], dense(params.head, ys))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["deep", "random"])
def test_streaming_with_a_carried_state_is_the_whole_sequence(name, training):
    model = scenarios.many_to_many(CELLS[name], head(V), embed=embedding())
    ids = words(2, (T, B))
    params = params_of(model.init, ids)
    key = jax.random.key(3) if training and name == "random" else None
    begin = model.initial_carry(params, (B,), key)
    apply, step = jax.jit(model.apply), jax.jit(model.step)
    last, outputs = apply(params, ids, carry=begin)
    carry = begin
    for t in range(T):
        carry, output = step(params, carry, ids[t])
        assert_close(output, outputs[t])
    halfway, first = apply(params, ids[:2], carry=begin)
    end, second = apply(params, ids[2:], carry=halfway)
    assert_close(jnp.concatenate([first, second]), outputs)
    keyless = [
        [leaf for leaf in jax.tree.leaves(c) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        for c in (carry, end, last)
    ]
    assert_close(keyless[0], keyless[2])
    assert_close(keyless[1], keyless[2])


def test_padding_never_changes_loss_or_gradients():
    model = scenarios.many_to_many(CELLS["lstm"], head(V), embed=embedding())
    ids, labels = words(2, (T, B)), words(3, (T, B))
    params = params_of(model.init, ids)

    def cost(params, ids, lengths, labels):
        _, logits = model.apply(params, ids, lengths=lengths)
        return scenarios.cross_entropy(logits, labels, scenarios.valid_steps(lengths, len(ids)))

    of = jax.jit(jax.value_and_grad(cost))
    garbage = [a.at[2:, 1].set(-7).at[3:, 2].set(10**6) for a in (ids, labels)]
    value, grads = of(params, garbage[0], RAGGED, garbage[1])
    alone = [
        of(params, ids[:n, b : b + 1], RAGGED[b : b + 1], labels[:n, b : b + 1])
        for b, n in enumerate(RAGGED)
    ]
    share = RAGGED / RAGGED.sum()
    assert_close(value, sum(w * v for w, (v, _) in zip(share, alone, strict=True)))
    weighted = [
        jax.tree.map(lambda g, w=w: w * g, g) for w, (_, g) in zip(share, alone, strict=True)
    ]
    assert_close(grads, jax.tree.map(lambda *g: sum(g), *weighted))


def test_words_that_a_mask_skips_are_never_looked_up():
    """The others are a shorter sequence; a skipped step repeats the output before it."""
    model = scenarios.many_to_many(CELLS["own"], head(V), embed=embedding())
    ids = words(2, (T, B)).at[1].set(-7).at[3].set(10**6)
    params = params_of(model.init, ids)
    mask = jnp.ones((T, B), bool).at[jnp.array([1, 3])].set(False)
    carry, outputs = model.apply(params, ids, mask=mask)
    end, alone = model.apply(params, ids[::2])
    assert_close((carry, outputs), (end, alone[jnp.array([0, 0, 1, 1, 2])]))
    decoder = scenarios.one_to_many(CELLS["own"], head(V), embed=embedding())
    feature = noisy(1, (B, D))
    weights = params_of(decoder.init, feature, ids)
    assert_close(
        decoder.apply(weights, feature, ids, mask=mask)[::2],
        decoder.apply(weights, feature, ids[::2]),
    )


def test_nan_in_padded_series_never_reaches_loss_or_gradients():
    model = scenarios.many_to_many(CELLS["deep"], head(D))
    xs = noisy(1, (T, B, D))
    params = params_of(model.init, xs)

    def cost(params, xs):
        _, outputs = model.apply(params, xs[:-1], lengths=RAGGED - 1)
        valid = scenarios.valid_steps(RAGGED - 1, T - 1)
        return scenarios.squared_error(outputs, xs[1:], valid)

    of = jax.jit(jax.value_and_grad(cost))
    assert_close(of(params, xs.at[2:, 1].set(jnp.nan).at[3:, 2].set(jnp.nan)), of(params, xs))


def test_bidirectional_tagger_is_two_loops():
    layer = rnnjax.bidirectional(CELLS["lstm"], CELLS["own"])
    model = scenarios.many_to_many(layer, head())
    xs = noisy(1, (T, B, D))
    params = params_of(model.init, xs)
    _, outputs = jax.jit(model.apply)(params, xs, lengths=RAGGED)
    assert model.step is None
    assert model.initial_carry is None
    for b, n in enumerate(RAGGED):
        _, forward = outputs_by_loop("lstm", params.layer[0], xs[:n, b])
        _, backward = outputs_by_loop("own", params.layer[1], xs[:n, b][::-1])
        ys = np.concatenate([forward, backward[::-1]], axis=-1)
        assert_close(outputs[:n, b], dense(params.head, ys))


def test_key_beside_a_carry_draws_new_randomness_for_an_old_state():
    # Rates of nearly zero: the training form with its keys and masks, and no effect of them.
    silent = rnnjax.stack(
        rnnjax.recurrent_dropout(rnnjax.lstm(H), 1e-300), rnnjax.zoneout(rnnjax.gru(H), h=0.0)
    )
    model = scenarios.many_to_many(silent, head())
    xs = noisy(1, (T, B, D))
    params = params_of(model.init, xs)
    apply = jax.jit(model.apply)
    whole, outputs = apply(params, xs)
    halfway, first = apply(params, xs[:2], key=jax.random.key(0))
    end, second = apply(params, xs[2:], carry=halfway, key=jax.random.key(1))
    assert jax.tree.structure(end) == jax.tree.structure(model.initial_carry(params, (B,)))
    assert_close(jnp.concatenate([first, second]), outputs)
    assert_close(end, whole)

    loud = scenarios.many_to_many(rnnjax.recurrent_dropout(rnnjax.lstm(H), 0.5), head())
    params = params_of(loud.init, xs)
    apply = jax.jit(loud.apply)
    state, _ = apply(params, xs)
    one, other = (apply(params, xs, carry=state, key=jax.random.key(s))[1] for s in (1, 2))
    assert np.abs(one - other).max() > 1e-3
    # By hand with every mask that there is: at its first step, each example is one of 2^H.
    masks = 2.0 * np.array(np.meshgrid(*[[0, 1]] * H)).reshape(H, -1).T
    for b in range(B):
        carry = jax.tree.map(lambda leaf, b=b: jnp.tile(leaf[b], (len(masks), 1)), state.cell)
        x_t = jnp.tile(xs[0, b], (len(masks), 1))
        _, ys = rnnjax.lstm(H).step(params.layer, carry._replace(h=masks * carry.h), x_t)
        distance = np.abs(dense(params.head, ys) - np.asarray(one[0, b])).max(axis=1)
        assert distance.min() < 1e-12


def test_episodes_that_begin_in_a_batch_share_its_randomness():
    """With a key, a carry and resets, the masks of the batch are those of its episodes too."""
    cell = CELLS["random"]
    model = scenarios.many_to_many(cell, head())
    xs, key = noisy(1, (T, B, D)), jax.random.key(3)
    params = params_of(model.init, xs)
    state, _ = model.apply(params, xs)
    resets = jnp.zeros((T, B), bool).at[2].set(True)
    end, outputs = model.apply(params, xs, carry=state, key=key, resets=resets)
    _, before = model.apply(params, xs[:2], carry=state, key=key)
    assert_close(outputs[:2], before)
    # Keys inside a carry count steps: a new episode begins with those of a new carry.
    fresh = cell.initial_carry(params.layer, (B,), jax.random.split(key, 3)[1])
    _, ys = rnnjax.unroll(cell, params.layer, xs[2:], carry=fresh)
    assert_close(outputs[2:], dense(params.head, ys))
    assert jax.tree.structure(end) == jax.tree.structure(state)


def test_state_of_a_training_carry_continues_in_evaluation():
    model = scenarios.many_to_many(CELLS["random"], head())
    xs = noisy(1, (T, B, D))
    params = params_of(model.init, xs)
    apply = jax.jit(model.apply)
    trained, _ = apply(params, xs, key=jax.random.key(0))
    _, outputs = apply(params, xs, carry=trained)
    for b in range(B):
        carry = jax.tree.map(lambda leaf, b=b: leaf[b], trained)
        _, ys = outputs_by_loop("random", params.layer, xs[:, b], carry)
        assert_close(outputs[:, b], dense(params.head, ys))


def test_closed_loop_feeds_outputs_back():
    model = scenarios.many_to_many(CELLS["lstm"], head(D))
    xs = noisy(1, (T, B, D))
    params = params_of(model.init, xs)
    carry, outputs = model.apply(params, xs)

    def run(params, carry, x_0):
        step = partial(model.step, params)
        return scenarios.closed_loop(step, carry, x_0, 4)

    last, continued = jax.jit(run)(params, carry, outputs[-1])
    state, x = carry, outputs[-1]
    for t in range(4):
        state, x = model.step(params, state, x)
        assert_close(continued[t], x)
    assert_close(last, state)


def test_free_running_training_is_differentiable():
    model = scenarios.many_to_many(CELLS["own"], head(D))
    xs = noisy(1, (T, B, D))
    params = params_of(model.init, xs)

    def cost(params):
        carry, outputs = model.apply(params, xs[:2])
        step = partial(model.step, params)
        _, more = scenarios.closed_loop(step, carry, outputs[-1], 3)
        return scenarios.squared_error(more, xs[2:])

    gradient = jax.jit(jax.grad(cost))(params)
    along = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), params)
    value = jax.jit(lambda s: cost(jax.tree.map(lambda p, a: p + s * a, params, along)))
    slope = sum(
        np.vdot(g, a)
        for g, a in zip(jax.tree.leaves(gradient), jax.tree.leaves(along), strict=True)
    )
    assert_close(slope, (value(1e-5) - value(-1e-5)) / 2e-5, rtol=1e-7)


def test_params_and_outputs_in_single_precision():
    model = scenarios.many_to_many(rnnjax.lstm(H, dtype=jnp.float32), head(), embed=embedding())
    params = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32), params_of(model.init, words(2, (T, B)))
    )
    carry, outputs = jax.jit(model.apply)(params, words(2, (T, B)))
    assert outputs.dtype == jnp.float32
    carry, output = jax.jit(model.step)(params, carry, words(2, (B,)))
    assert output.dtype == carry.h.dtype == jnp.float32


def test_a_step_of_a_cell_without_params():
    def step(params, h, x_t):
        h = jnp.sin(h + x_t)
        return h, h

    cell = rnnjax.Cell(
        lambda key, size: {}, lambda params, batch_shape=(): jnp.zeros((*batch_shape, D)), step
    )
    model = scenarios.many_to_many(cell, head())
    x_t = noisy(1, (B, D)).astype(jnp.float32)
    inner = params_of(head().init, x_t)
    params = scenarios.ManyToManyParams(None, {}, inner)
    carry, output = model.step(params, 0.5 * jnp.ones((B, D)), x_t)
    assert_close(carry, np.sin(0.5 + np.asarray(x_t, float)))
    assert_close(output, dense(inner, carry))


def test_sizes():
    model = scenarios.many_to_many(CELLS["lstm"], head(), embed=embedding())
    params = params_of(model.init, words(2, (T, B)))
    assert params.layer.w_x.shape == (E, 4 * H)
    assert model.apply(params, words(2, (T, B)))[1].shape == (T, B, K)
