"""Beam search against every sequence there is, and against a beam kept in a Python list."""

import functools
import itertools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenario_nets import (
    CELLS,
    B,
    D,
    assert_close,
    example,
    head,
    log_softmax,
    noisy,
    params_of,
    words,
)

from rnnjax import scenarios

V, STEPS, END = 3, 4, 1
FIRST = jnp.array([0, 2, 2])
SEEDS = (8, 9, 12, 20)  # nets whose best sequences differ


@functools.cache
def net(attention="dot", seed=8, scale=1.2):
    """A decoder whose state holds a carry and, with attention, a memory."""
    embed = nn.Embed(V, 2, param_dtype=float)
    model = scenarios.encoder_decoder(
        None, CELLS["deep"], head(V), embed=embed, attention=attention
    )
    memory = noisy(1, (4, B, D), 2.0)
    params = params_of(model.init, memory, words(2, (STEPS, B), V), seed=seed, scale=scale)
    return model, params, memory


def penalty(length, alpha):
    return ((5 + length) / 6) ** alpha


def every_sequence():
    """Those that end within STEPS, and those of STEPS words that do not."""
    others = [word for word in range(V) if word != END]
    for n in range(1, STEPS + 1):
        for beginning in itertools.product(others, repeat=n - 1):
            yield (*beginning, END)
    yield from itertools.product(others, repeat=STEPS)


@functools.cache
def programs(attention):
    model = net(attention)[0]
    return jax.jit(model.step), jax.jit(model.begin), jax.jit(model.apply)


def scored(attention, params, memory):
    """ln p of every sequence for every example, by teacher forcing."""
    sequences = list(every_sequence())
    padded = np.array([s + (END,) * (STEPS - len(s)) for s in sequences]).T
    apply, table = programs(attention)[2], []
    for b in range(B):
        many = padded.shape[1]
        before = np.concatenate([np.full((1, many), FIRST[b]), padded[:-1]])
        logits = apply(params, jnp.repeat(memory[:, b : b + 1], many, axis=1), jnp.asarray(before))
        gains = np.take_along_axis(log_softmax(logits), padded[..., None], -1)[..., 0]
        table.append([gains[: len(s), i].sum() for i, s in enumerate(sequences)])
    return sequences, np.array(table)


@functools.cache
def searcher(attention, beams):
    """`(params, memory, first, α) -> Decoded`, compiled once for each batch size."""
    model = net(attention)[0]

    def run(params, memory, first, alpha):
        step, state = partial(model.step, params), model.begin(params, memory)
        return scenarios.beam_search(
            step, state, first, STEPS, end=END, beams=beams, length_penalty=alpha
        )

    return jax.jit(run)


@pytest.mark.parametrize("attention", [None, "dot"])
def test_with_every_beginning_kept_it_is_exact(attention):
    winners = set()
    for seed in SEEDS:
        _, params, memory = net(attention, seed)
        sequences, log_probs = scored(attention, params, memory)
        assert_close(np.exp(log_probs).sum(axis=1), np.ones(B))  # they are all there is
        for alpha in (0.0, 0.7, 3.0):
            got = searcher(attention, V**STEPS)(params, memory, FIRST, alpha)
            scores = log_probs / penalty(np.array([len(s) for s in sequences]), alpha)
            for b, best in enumerate(scores.argmax(axis=1)):
                n = int(got.lengths[b])
                assert tuple(got.tokens[:n, b].tolist()) == sequences[best]
                assert (got.tokens[n:, b] == END).all()
                assert_close(got.log_probs[b], log_probs[b, best])
                winners.add((seed, b, sequences[best]))

    assert len(winners) > len(SEEDS) * B  # the penalty changes winners, or it has not been tested
    assert len({sentence for *_, sentence in winners}) >= 5


def searched_by_list(params, memory, b, beams, alpha):
    """The same search for one example, in the open: lists of (log p, words, state)."""
    step, begin, _ = programs("dot")
    state = begin(params, memory[:, b : b + 1])
    alive, ended = [(0.0, (), state)], []
    for t in range(STEPS):
        candidates = []
        for log_prob, sentence, state in alive:
            last = jnp.array([sentence[-1]]) if sentence else FIRST[b : b + 1]
            new, logits = step(params, state, last)
            gains = log_softmax(logits[0])
            candidates += [(log_prob + gains[w], (*sentence, w), new) for w in range(V)]
        candidates.sort(key=lambda c: -c[0])
        ended += [
            (log_prob / penalty(t + 1, alpha), log_prob, sentence, state)
            for log_prob, sentence, state in candidates[:beams]
            if sentence[-1] == END
        ]
        alive = [c for c in candidates if c[1][-1] != END][:beams]
    ended += [(lp / penalty(STEPS, alpha), lp, sentence, state) for lp, sentence, state in alive]
    return max(ended, key=lambda e: e[0])


@pytest.mark.parametrize("beams", [1, 3])
def test_few_beams_are_the_beam_in_a_list(beams):
    found = set()
    for seed, alpha in zip((*SEEDS, *SEEDS), (0.0,) * 4 + (1.5,) * 4, strict=True):
        _, params, memory = net("dot", seed)
        got = searcher("dot", beams)(params, memory, FIRST, alpha)
        for b in range(B):
            _, log_prob, sentence, state = searched_by_list(params, memory, b, beams, alpha)
            n = int(got.lengths[b])
            assert tuple(got.tokens[:n, b].tolist()) == sentence
            assert_close(got.log_probs[b], log_prob)
            assert_close(example(got.state, b), example(state, 0))
            found.add(sentence)

    assert len(found) >= 4


def test_one_beam_is_greedy():
    model, _, memory = net("dot")

    @jax.jit
    def greedy(params):
        step, state = partial(model.step, params), model.begin(params, memory)
        return scenarios.greedy(step, state, FIRST, STEPS, end=END)

    for seed in range(12):
        params = net("dot", seed)[1]
        assert_close(searcher("dot", 1)(params, memory, FIRST, 0.0), greedy(params))


def test_more_beams_never_score_worse_here_and_find_what_greedy_misses():
    """A garden path: the best first word leads nowhere."""
    table = jnp.log(
        jnp.array([[0.6, 0.4, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 0.01, 0.99]]) + 1e-30
    )

    def step(state, token):  # words: 0 and 1 lead on, 3 ends
        rows = jnp.where(state == 0, 0, jnp.where(token == 1, 2, 1))
        return state + 1, table[rows]

    first, state = jnp.zeros(1, int), jnp.zeros(1, int)
    greedy = scenarios.greedy(step, state, first, 2, end=3)
    found = scenarios.beam_search(step, state, first, 2, end=3, beams=2)
    assert greedy.tokens[0, 0] == 0
    assert found.tokens[:, 0].tolist() == [1, 3]
    assert_close(jnp.exp(found.log_probs), jnp.array([0.4 * 0.99]))
    assert found.log_probs[0] > greedy.log_probs[0]


def test_a_forbidden_end_never_ends():
    """Of two possible words three beams cannot be made; what is left over is no sentence."""

    def step(state, token):
        return state, jnp.broadcast_to(jnp.array([-jnp.inf, 0.0, 1.0]), (*token.shape, 3))

    found = scenarios.beam_search(step, None, jnp.zeros(1, int), 4, end=0, beams=3)
    assert found.tokens[:, 0].tolist() == [2, 2, 2, 2]
    assert found.lengths.tolist() == [4]
    assert_close(found.log_probs[0], -4 * np.log1p(np.exp(-1.0)))


def test_a_batch_is_searched_as_its_examples_are():
    _, params, memory = net("dot", 20)
    together = searcher("dot", 3)(params, memory, FIRST, 0.6)
    for b in range(B):
        one = slice(b, b + 1)
        alone = searcher("dot", 3)(params, memory[:, one], FIRST[one], 0.6)
        assert alone.tokens[:, 0].tolist() == together.tokens[:, b].tolist()
        assert_close(alone.log_probs[0], together.log_probs[b])


def test_cells_with_keys_in_their_state_can_be_searched():
    model = scenarios.many_to_many(CELLS["random"], head(V), embed=nn.Embed(V, 2))
    params = params_of(model.init, words(2, (STEPS, B), V))
    state = model.initial_carry(params, (B,), jax.random.key(0))

    @jax.jit
    def search(params, state):
        step = partial(model.step, params)
        return scenarios.beam_search(step, state, FIRST, STEPS, end=END, beams=2)

    got = search(params, state)
    assert jax.tree.structure(got.state) == jax.tree.structure(state)
    assert (got.lengths >= 1).all()
