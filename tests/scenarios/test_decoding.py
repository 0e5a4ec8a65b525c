"""Greedy decoding and sampling: what is written, what is drawn, and where it stops."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenario_nets import (
    CELLS,
    B,
    V,
    assert_close,
    embedding,
    head,
    log_softmax,
    noisy,
    params_of,
    softmax,
    words,
)

from rnnjax import scenarios

STEPS, END = 6, 0


def language_model(name="deep", seed=0):
    model = scenarios.many_to_many(CELLS[name], head(V), embed=embedding())
    params = params_of(model.init, words(2, (STEPS, B)), seed=seed, scale=1.0)
    return model, params


def prefixed(first, tokens):
    """The inputs that led to these tokens: each the word before."""
    return jnp.concatenate([first[None], tokens[:-1]])


def written_by_loop(model, params, carry, first, choose):
    """One word after another until END, one sequence at a time."""
    step = jax.jit(model.step)
    tokens, log_probs, states = [], [], []
    for b in range(len(first)):
        state = jax.tree.map(lambda leaf, b=b: leaf[b : b + 1], carry)
        token, total, sentence = first[b : b + 1], 0.0, []
        while len(sentence) < STEPS and (not sentence or sentence[-1] != END):
            state, logits = step(params, state, token)
            word = choose(np.asarray(logits[0]))
            total += log_softmax(logits[0])[word]
            sentence.append(int(word))
            token = jnp.array([word])
        tokens.append(sentence)
        log_probs.append(total)
        states.append(state)
    return tokens, log_probs, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *states)


def test_greedy_is_the_loop_and_stops_at_the_end():
    model, params = language_model(seed=20)
    first = jnp.array([1, 2, 5])
    carry = model.initial_carry(params, (B,))
    got = jax.jit(
        lambda params, carry, first: scenarios.greedy(
            partial(model.step, params), carry, first, STEPS, end=END
        )
    )(params, carry, first)
    tokens, log_probs, state = written_by_loop(model, params, carry, first, np.argmax)
    lengths = [len(sentence) for sentence in tokens]
    assert min(lengths) < STEPS  # or the test shows nothing
    assert max(lengths) > min(lengths)
    assert got.lengths.tolist() == lengths
    for b, sentence in enumerate(tokens):
        assert got.tokens[: lengths[b], b].tolist() == sentence
        assert (got.tokens[lengths[b] :, b] == END).all()
    assert_close(got.log_probs, np.array(log_probs))
    assert_close(got.state, state)


def test_log_probs_are_those_of_teacher_forcing():
    model, params = language_model()
    first, carry = jnp.array([1, 2, 5]), model.initial_carry(params, (B,))
    key = jax.random.key(0)

    @jax.jit
    def run(params, carry):
        step = partial(model.step, params)
        return (
            scenarios.greedy(step, carry, first, STEPS),
            scenarios.sample(step, carry, first, STEPS, key, temperature=0.7, top_k=4, end=END),
            scenarios.beam_search(step, carry, first, STEPS, end=END, beams=3),
        )

    apply = jax.jit(model.apply)
    for got in run(params, carry):
        _, logits = apply(params, prefixed(first, got.tokens))
        gains = np.take_along_axis(log_softmax(logits), np.asarray(got.tokens)[..., None], -1)
        valid = np.asarray(scenarios.valid_steps(got.lengths, STEPS))
        assert_close(got.log_probs, np.where(valid, gains[..., 0], 0).sum(axis=0))


def test_without_an_end_it_writes_all_steps_and_goes_on_from_its_state():
    model, params = language_model()
    first, carry = jnp.array([1, 2, 5]), model.initial_carry(params, (B,))

    @jax.jit
    def run(params, carry):
        step = partial(model.step, params)
        whole = scenarios.greedy(step, carry, first, STEPS)
        start = scenarios.greedy(step, carry, first, 2)
        return whole, start, scenarios.greedy(step, start.state, start.tokens[-1], STEPS - 2)

    whole, start, rest = run(params, carry)
    assert_close(jnp.concatenate([start.tokens, rest.tokens]), whole.tokens)
    assert_close(start.log_probs + rest.log_probs, whole.log_probs)
    assert_close(rest.state, whole.state)
    assert whole.lengths.tolist() == [STEPS] * B


@pytest.mark.parametrize("logits", [[-5.0, 3.0, 2.999], [-5.0, -2.999, -3.0]])
@pytest.mark.parametrize("temperature", [1e-38, 1e-300, 0.0])
def test_at_no_temperature_sampling_is_greedy(temperature, logits):
    logits = jnp.array(logits, jnp.float32)  # in which they overflow when they are divided

    def step(state, token):
        return state, jnp.broadcast_to(logits, (*token.shape, 3))

    @jax.jit
    def draw(temperature):
        first, key = jnp.zeros(4, int), jax.random.key(0)
        return scenarios.sample(step, None, first, 3, key, temperature=temperature)

    np.testing.assert_array_equal(draw(jnp.asarray(temperature)).tokens, 1)


@pytest.mark.parametrize("decode", ["greedy", "sample", "beam"])
def test_stops_when_all_have_ended(decode):
    reads = []

    def step(state, token):  # after word k comes k + 1
        jax.debug.callback(lambda: reads.append(1))
        return state, 50.0 * jax.nn.one_hot(token + 1, V)

    first, options = jnp.array([1, 3]), {"end": 4}
    if decode == "greedy":
        got = scenarios.greedy(step, None, first, 1000, **options)
    elif decode == "sample":
        got = scenarios.sample(step, None, first, 1000, jax.random.key(0), **options)
    else:
        got = scenarios.beam_search(step, None, first, 1000, beams=2, **options)
    jax.effects_barrier()
    assert got.lengths.tolist() == [3, 1]
    assert got.tokens[:3].T.tolist() == [[2, 3, 4], [4, 4, 4]]
    assert len(reads) == 3


LOGITS = np.array([[0.3, 2.0, -1.0, 1.2, 0.1, -0.4], [1.0, -2.0, 0.5, 0.2, 1.5, 0.0]])


def restricted(logits, temperature=1.0, top_k=None, top_p=None):
    """The distribution that `sample` has to draw from, word by word."""
    p = softmax(logits / temperature)
    order = sorted(range(len(p)), key=lambda word: -p[word])
    allowed = order[:top_k]
    if top_p is not None:
        total, nucleus = 0.0, []
        for word in allowed:
            if total >= top_p:
                break
            nucleus.append(word)
            total += p[word] / p[allowed].sum()
        allowed = nucleus
    out = np.zeros_like(p)
    out[allowed] = p[allowed] / p[allowed].sum()
    return out


@functools.cache
def sampler(top_k, nucleus):
    """Two words for every row of logits, which stay the same; compiled once for all knobs."""

    @jax.jit
    def draw(logits, temperature, top_p, key):
        def step(state, token):
            return state, logits

        return scenarios.sample(
            step,
            None,
            jnp.zeros(len(logits), int),
            2,
            key,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p if nucleus else None,
        )

    return draw


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 2},
        {"top_p": 0.8},
        {"top_p": 1e-6},
        {"top_p": 1.0},
        {"temperature": 1.7, "top_k": 4, "top_p": 0.7},
    ],
    ids=str,
)
def test_samples_have_the_restricted_distribution(options):
    many = 10_000
    logits = jnp.repeat(jnp.asarray(LOGITS), many, axis=0)
    got = sampler(options.get("top_k"), "top_p" in options)(
        logits, options.get("temperature", 1.0), options.get("top_p", 1.0), jax.random.key(5)
    )
    for t in range(2):
        for row, drawn in enumerate(np.asarray(got.tokens[t]).reshape(2, many)):
            p = restricted(LOGITS[row], **options)
            seen = np.bincount(drawn, minlength=V) / many
            assert not seen[p == 0].any()
            assert (np.abs(seen - p) <= 5 * np.sqrt(p * (1 - p) / many)).all()
    pairs = np.asarray(got.tokens[0]) * V + np.asarray(got.tokens[1])
    p = np.outer(*[restricted(LOGITS[0], **options)] * 2).ravel()  # steps are independent
    seen = np.bincount(pairs[:many], minlength=V * V) / many
    assert (np.abs(seen - p) <= 5.5 * np.sqrt(p * (1 - p) / many)).all()
    net = log_softmax(LOGITS)[np.repeat([0, 1], many)]
    gains = [np.take_along_axis(net, np.asarray(t)[:, None], 1)[:, 0] for t in got.tokens]
    assert_close(got.log_probs, sum(gains))  # of the net, not of the restricted distribution


def test_top_k_of_one_and_a_tiny_nucleus_are_greedy_ties_included():
    model, params = language_model()
    first, carry = jnp.array([1, 2, 5]), model.initial_carry(params, (B,))
    key = jax.random.key(1)

    @jax.jit
    def run(params, carry):
        step = partial(model.step, params)
        want = scenarios.greedy(step, carry, first, STEPS, end=END)
        return want, [
            scenarios.sample(step, carry, first, STEPS, key, end=END, **options)
            for options in ({"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-6, "top_k": 100})
        ]

    want, draws = run(params, carry)
    for got in draws:
        assert_close(got, want)

    def tied(state, token):
        return state, jnp.tile(jnp.array([0.0, 1.0, 1.0, 1.0]), (50, 1))

    start = jnp.zeros(50, int)
    want = scenarios.greedy(tied, None, start, 3).tokens
    for options in ({"top_k": 1}, {"top_p": 0.1}):
        assert_close(scenarios.sample(tied, None, start, 3, key, **options).tokens, want)


def test_sampling_is_fixed_by_its_key_and_jits_with_traced_knobs():
    model, params = language_model()
    first, carry = jnp.array([1, 2, 5]), model.initial_carry(params, (B,))

    @jax.jit
    def run(params, key, temperature, top_p):
        step = partial(model.step, params)
        return scenarios.sample(
            step, carry, first, 20, key, temperature=temperature, top_p=top_p
        ).tokens

    one = run(params, jax.random.key(1), 1.3, 0.9)
    assert_close(run(params, jax.random.key(1), 1.3, 0.9), one)
    assert (run(params, jax.random.key(2), 1.3, 0.9) != one).any()
    step = partial(model.step, params)
    eager = scenarios.sample(step, carry, first, 20, jax.random.key(1), temperature=1.3, top_p=0.9)
    assert_close(eager.tokens, one)


def test_nan_logits_are_not_hidden():
    def step(state, token):
        return state, jnp.full((len(token), V), jnp.nan)

    first = jnp.zeros(2, int)
    for got in (
        scenarios.greedy(step, None, first, 3, end=END),
        scenarios.sample(step, None, first, 3, jax.random.key(0), end=END),
        scenarios.beam_search(step, None, first, 3, end=END),
    ):
        assert np.isnan(got.log_probs).all()


def test_vmap_over_params():
    model, params = language_model("own")
    _, others = language_model("own", seed=9)
    first = jnp.array([1, 2, 5])
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), params, others)

    def run(params):
        carry = model.initial_carry(params, (B,))
        step = partial(model.step, params)
        return (
            scenarios.greedy(step, carry, first, STEPS, end=END),
            scenarios.beam_search(step, carry, first, STEPS, end=END, beams=2),
        )

    together, alone = jax.jit(jax.vmap(run))(both), jax.jit(run)
    for index, each in enumerate((params, others)):
        assert_close(jax.tree.map(lambda leaf, i=index: leaf[i], together), alone(each))


def test_tokens_keep_their_dtype_and_bfloat16_sums_in_float32():
    def step(state, token):
        return state, noisy(0, (len(token), V)).astype(jnp.bfloat16)

    first = jnp.zeros(2, jnp.int32)
    for got in (
        scenarios.greedy(step, None, first, 3, end=END),
        scenarios.beam_search(step, None, first, 3, end=END),
    ):
        assert got.tokens.dtype == jnp.int32
        assert got.log_probs.dtype == jnp.float32
