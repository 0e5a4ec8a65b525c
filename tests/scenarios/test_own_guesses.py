"""Scheduled sampling and free running: decoders that read their own guesses."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoder_nets import F, caption, translate
from scenario_nets import (
    CELLS,
    RAGGED,
    B,
    T,
    V,
    assert_close,
    noisy,
    params_of,
    softmax,
    words,
)

from rnnjax import scenarios

pytestmark = pytest.mark.usefixtures("eager")


@pytest.mark.parametrize("attention", [None, "additive"])
def test_scheduled_sampling_at_rate_zero_is_teacher_forcing(attention):
    model, params, source, ids = translate(attention)
    apply = jax.jit(model.apply)
    forced = apply(params, source, ids, lengths=RAGGED)
    traced = apply(params, source, ids, lengths=RAGGED, key=jax.random.key(0), sampling=0.0)
    assert_close(traced, forced)  # under jit the rate is an array, and the other path runs
    assert_close(model.apply(params, source, ids, lengths=RAGGED, sampling=0.0), forced)


def test_free_running_reads_its_own_guesses():
    """With logits so far apart that a draw is the argmax, it is greedy decoding."""
    model, params, source, ids = translate("dot")
    sharp = params._replace(head=jax.tree.map(lambda leaf: 1e4 * leaf, params.head))
    apply = jax.jit(model.apply)
    free = apply(sharp, source, ids, key=jax.random.key(0), sampling=1.0)
    written = scenarios.greedy(partial(model.step, sharp), model.begin(sharp, source), ids[0], T)
    assert_close(jnp.argmax(free, axis=-1), written.tokens)
    assert (written.tokens[:-1] != ids[1:]).any()
    # The words given after the first have no influence at all.
    assert_close(apply(sharp, source, ids.at[1:].set(0), key=jax.random.key(0), sampling=1.0), free)


def test_scheduled_sampling_replaces_words_at_its_rate_and_by_the_nets_distribution():
    model, params, *_ = caption("own")
    many, steps, rate = 3000, 4, 0.3
    feature, ids = jnp.tile(noisy(1, (1, F)), (many, 1)), jnp.full((steps, many), 5)
    apply = jax.jit(model.apply)
    logits = np.asarray(apply(params, feature, ids, key=jax.random.key(0), sampling=rate))
    forced = np.asarray(apply(params, feature[:1], ids[:, :1]))
    # Step 1 read either word 5 or a draw from step 0: recognise which by its logits.
    step, begin = jax.jit(model.step), model.begin(params, feature[:V])
    state, _ = step(params, begin, ids[0, :V])
    _, each = step(params, state, jnp.arange(V))
    read = np.abs(logits[1][:, None] - np.asarray(each)[None]).max(axis=-1).argmin(axis=-1)
    assert_close(logits[1], np.asarray(each)[read])
    expected = rate * softmax(forced[0, 0]) + (1 - rate) * np.eye(V)[5]
    seen = np.bincount(read, minlength=V) / many
    assert (np.abs(seen - expected) < 5 * np.sqrt(expected * (1 - expected) / many)).all()
    assert_close(logits[0], np.broadcast_to(forced[0], logits[0].shape))


def test_guesses_are_not_bound_to_the_dtype_of_the_words():
    embed, to_words = nn.Embed(400, 3), nn.Dense(400)
    model = scenarios.one_to_many(CELLS["own"], to_words, embed=embed)
    ids = jnp.full((T, B), 7, jnp.uint8)
    feature = noisy(1, (B, F))
    params = params_of(model.init, feature, ids)
    apply = partial(jax.jit(model.apply), params, feature, key=jax.random.key(1), sampling=1.0)
    assert_close(apply(ids), apply(ids.astype(jnp.int32)))


def test_gradient_of_scheduled_sampling_passes_by_the_words():
    """Given the words that were read, it is the gradient of teacher forcing on those words."""
    model, params, source, ids = translate("dot", name="own", encoder="own")
    labels, key = words(4, (T, B)), jax.random.key(0)

    def sampled(params):
        logits = model.apply(params, source, ids, key=key, sampling=1.0)
        return scenarios.cross_entropy(logits, labels), logits

    (_, logits), grads = jax.jit(jax.value_and_grad(sampled, has_aux=True))(params)
    apply = jax.jit(model.apply)
    read = ids
    sources = jnp.tile(source, (1, V, 1))  # for every word in the place of the one that was drawn
    for t in range(1, T):  # find the drawn words one by one, each by the logits it led to
        tries = jnp.concatenate([read.at[t].set(v) for v in range(V)], axis=1)
        now = apply(params, sources, tries)[t].reshape(V, B, V)
        read = read.at[t].set(np.argmin(np.abs(now - logits[t]).max(axis=-1), axis=0))
    assert_close(apply(params, source, read), logits)

    def forced(params):
        return scenarios.cross_entropy(model.apply(params, source, read), labels)

    assert_close(grads, jax.jit(jax.grad(forced))(params))
