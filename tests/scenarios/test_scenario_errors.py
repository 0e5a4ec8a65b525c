"""What is refused, and that the message says what to do."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from scenario_nets import B, D, H, T, V, embedding, head, noisy, params_of, words

import rnnjax
from rnnjax import scenarios

S, CELL = 4, rnnjax.lstm(H)
XS, IDS = noisy(1, (T, B, D)), words(2, (T, B))


def aligned(**options):
    return scenarios.many_to_many(CELL, head(V), **options)


def translator(attention=None, encoder=CELL):
    model = scenarios.encoder_decoder(
        encoder, CELL, head(V), embed=embedding(), attention=attention
    )
    source = noisy(1, (S, B, D))
    return model, params_of(model.init, source, IDS), source


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ValueError, match=r"'last', 'mean', 'sum', 'max', 'attention'.*'mean'"):
        scenarios.many_to_one(CELL, head(), pooling="means")
    with pytest.raises(ValueError, match="'dot', 'additive', got 'aditive'; did you mean 'addi"):
        scenarios.encoder_decoder(CELL, CELL, head(), embed=embedding(), attention="aditive")


@pytest.mark.parametrize(
    "make",
    [
        lambda: scenarios.one_to_one(nn.Dense),
        lambda: scenarios.one_to_one(len),
        lambda: scenarios.many_to_one(CELL, lambda x: x),
        lambda: scenarios.many_to_many(CELL, None),
        lambda: scenarios.one_to_many(CELL, head(), embed="words"),
        lambda: scenarios.one_to_many(CELL, head(), embed=embedding(), context=3),
        lambda: scenarios.encoder_decoder(CELL, CELL, head(), embed=embedding(), source_embed=3),
        lambda: scenarios.dropout(3, 0.5),
    ],
)
def test_modules_are_needed(make):
    with pytest.raises(TypeError, match=r"module"):
        make()


def test_cells_are_needed():
    with pytest.raises(TypeError, match="layer must be a cell such as"):
        scenarios.many_to_one(rnnjax.lstm, head())
    both = rnnjax.bidirectional(CELL, CELL)
    with pytest.raises(TypeError, match="runs step by step"):
        scenarios.one_to_many(both, head(), embed=embedding())
    with pytest.raises(TypeError, match="runs step by step"):
        scenarios.encoder_decoder(both, both, head(), embed=embedding())


def test_integers_without_an_embedding():
    match = r"embed=flax.linen.Embed"
    with pytest.raises(TypeError, match=match):
        aligned().init(jax.random.key(0), IDS)
    model = aligned()
    params = params_of(model.init, XS)
    for attempt in (
        lambda: model.apply(params, IDS),
        lambda: model.step(params, model.initial_carry(params, (B,)), IDS[0]),
        lambda: scenarios.many_to_one(CELL, head()).init(jax.random.key(0), IDS),
    ):
        with pytest.raises(TypeError, match=match):
            attempt()
    decoder, params, _ = translator()
    with pytest.raises(TypeError, match=r"source_embed=flax.linen.Embed"):
        decoder.apply(params, words(3, (S, B)), IDS)


def test_lengths_outside():
    model = aligned(embed=embedding())
    params = params_of(model.init, IDS)
    with pytest.raises(ValueError, match=r"0\.\.5"):
        model.apply(params, IDS, lengths=jnp.array([6, 1, 1]))
    with pytest.raises(ValueError, match="one length for each sequence"):
        model.apply(params, IDS, lengths=jnp.array([5, 1]))
    decoder, params, source = translator()
    with pytest.raises(ValueError, match=r"0\.\.4"):
        decoder.apply(params, source, IDS, source_lengths=jnp.array([6, 1, 1]))


def test_carry_of_another_cell():
    model = aligned()
    params = params_of(model.init, XS)
    other = rnnjax.gru(H)
    carry = other.initial_carry(other.init(jax.random.key(0), D), (B,))
    with pytest.raises(ValueError, match="structure"):
        model.apply(params, XS, carry=carry)
    with pytest.raises(ValueError, match=r"carry does not have .c"):
        model.apply(params, XS, carry=carry, key=jax.random.key(0))


def test_words_are_integers_time_first():
    model, params, source = translator()
    with pytest.raises(TypeError, match="integer ids"):
        model.apply(params, source, IDS.astype(float))
    with pytest.raises(ValueError, match=r"expected \[T, B\], time first"):
        model.apply(params, source, IDS[0])
    with pytest.raises(ValueError, match="the source has a batch of 3"):
        model.apply(params, source, IDS[:, :2])
    state = model.begin(params, source)
    with pytest.raises(ValueError, match=r"expected \[B\]"):
        model.step(params, state, IDS)
    with pytest.raises(ValueError, match=r"token has shape.*batch of 3"):
        model.step(params, state, IDS[0, :2])


def test_sources_of_the_wrong_kind():
    caption = scenarios.one_to_many(CELL, head(V), embed=embedding())
    with pytest.raises(ValueError, match=r"expected \[B, F\].*encoder_decoder"):
        caption.init(jax.random.key(0), XS, IDS)
    params = params_of(caption.init, XS[0], IDS)
    with pytest.raises(ValueError, match="source_lengths is for sequences"):
        caption.begin(params, XS[0], source_lengths=jnp.array([1, 1, 1]))
    model = scenarios.encoder_decoder(None, CELL, head(V), embed=embedding())
    with pytest.raises(ValueError, match=r"expected \[S, B, M\].*one_to_many"):
        model.init(jax.random.key(0), XS[0], IDS)


def test_sampling_rates():
    model, params, source = translator()
    with pytest.raises(ValueError, match="pass key="):
        model.apply(params, source, IDS, sampling=0.5)
    with pytest.raises(ValueError, match=r"probability in \[0, 1\], got 1.5"):
        model.apply(params, source, IDS, sampling=1.5, key=jax.random.key(0))
    with pytest.raises(ValueError, match="gradient cannot be given with sampling="):
        model.apply(
            params, source, IDS, sampling=1.0, key=jax.random.key(0), gradient=rnnjax.bptt()
        )


@pytest.mark.parametrize("sampling", [0.0, 1.0])
def test_options_of_unroll_that_a_decoder_settles(sampling):
    model, params, source = translator()
    apply = partial(model.apply, params, source, IDS, sampling=sampling, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"carry cannot be given .* is computed from the source"):
        apply(carry=model.begin(params, source).carry)
    with pytest.raises(ValueError, match=r"reverse cannot be given .* from the words before it"):
        apply(reverse=True)


@pytest.mark.parametrize("layer", [CELL, rnnjax.bidirectional(CELL, CELL)])
def test_reverse_belongs_to_the_layer(layer):
    model = scenarios.many_to_one(layer, head(), pooling="attention")
    params = params_of(model.init, XS)
    for attempt in (model.apply, model.weights):
        with pytest.raises(ValueError, match=r"reverse= belongs to the layer: pass .*recurrent"):
            attempt(params, XS, reverse=True)


def test_gradients_that_attention_does_not_have():
    model, params, source = translator("dot")
    with pytest.raises(ValueError, match="autodiff"):
        model.apply(params, source, IDS, gradient=rnnjax.bptt())


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_rates(rate):
    with pytest.raises(ValueError, match=r"rate is a probability in \[0, 1\)"):
        scenarios.dropout(head(), rate)
    for make in (
        partial(scenarios.one_to_many, CELL, head()),
        partial(scenarios.encoder_decoder, CELL, CELL, head()),
    ):
        with pytest.raises(ValueError, match=r"dropout is a probability in \[0, 1\)"):
            make(embed=embedding(), dropout=rate)


def step(state, token):
    return state, jnp.zeros((len(token), V))


def wide(state, token, size=257):
    return state, jnp.zeros((len(token), size)).at[:, -1].set(1)


FIRST, BYTES = jnp.zeros(2, int), jnp.zeros(2, jnp.uint8)
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("attempt", "error", "match"),
    [
        (lambda: scenarios.greedy(step, None, FIRST * 1.0, 3), TypeError, "integer ids"),
        (lambda: scenarios.greedy(step, None, 0, 3), ValueError, r"expected \[B\]"),
        (lambda: scenarios.greedy(step, None, FIRST, 0), ValueError, "steps must be at least 1"),
        (lambda: scenarios.greedy(step, None, FIRST, 1.5), TypeError, "steps must be a positive"),
        (
            lambda: scenarios.sample(step, None, FIRST, 3, KEY, temperature=0.0),
            ValueError,
            r"temperature must be above 0, got 0.0: use greedy\(\)",
        ),
        (lambda: scenarios.sample(step, None, FIRST, 3, KEY, top_k=0), ValueError, "top_k"),
        (lambda: scenarios.sample(step, None, FIRST, 3, KEY, top_p=0.0), ValueError, "top_p"),
        (lambda: scenarios.sample(step, None, FIRST, 3, KEY, top_p=1.1), ValueError, "top_p"),
        (
            lambda: scenarios.beam_search(step, None, FIRST, 3, end=0, beams=0),
            ValueError,
            "beams must be at least 1",
        ),
        (
            lambda: scenarios.beam_search(step, None, FIRST, 3, end=0, length_penalty=-1.0),
            ValueError,
            "length_penalty must be at least 0",
        ),
        (
            lambda: scenarios.beam_search(step, {"n": jnp.zeros(3)}, FIRST, 3, end=0),
            ValueError,
            r"state\['n'\] has shape \(3,\).*\[2, ...\], batch first",
        ),
        (
            lambda: scenarios.beam_search(step, jnp.zeros(()), FIRST, 3, end=0),
            ValueError,
            "batch first",
        ),
        (
            lambda: scenarios.greedy(step, {"n": jnp.zeros(())}, FIRST, 3, end=0),
            ValueError,
            r"state\['n'\] has shape \(\): with end= .*expected \[2, ...\], batch first",
        ),
        (
            lambda: scenarios.sample(step, (FIRST, jnp.zeros(3)), FIRST, 3, KEY, end=0),
            ValueError,
            r"state\[1\] has shape \(3,\).*expected \[2, ...\], batch first",
        ),
        (lambda: scenarios.greedy(wide, None, BYTES, 3), TypeError, "uint8, whose maximum is 255"),
        (
            lambda: scenarios.sample(wide, None, BYTES, 3, KEY),
            TypeError,
            r"logits over 257 words: cast it with first.astype\(int\)",
        ),
        (
            lambda: scenarios.beam_search(wide, None, BYTES, 3, end=0),
            TypeError,
            "uint8, whose maximum is 255",
        ),
        (lambda: scenarios.greedy(step, None, FIRST, 3, end=V), ValueError, "end must be one of"),
        (
            lambda: scenarios.beam_search(step, None, FIRST, 3, end=-1),
            ValueError,
            "end must be one of the 6 words",
        ),
        (
            lambda: scenarios.greedy(lambda s, t: (s, jnp.zeros(V)), None, FIRST, 3),
            ValueError,
            r"logits of shape \(6,\), expected \[2, V\]",
        ),
    ],
)
def test_decoding(attempt, error, match):
    with pytest.raises(error, match=match):
        attempt()


def test_what_holds_without_an_end_and_at_the_limit_of_a_dtype():
    count = scenarios.greedy(lambda n, token: (n + 1, step(n, token)[1]), 0, FIRST, 3)
    assert int(count.state) == 3  # a scalar, which no sequence has to keep
    written = scenarios.greedy(partial(wide, size=256), None, BYTES, 2)
    assert written.tokens.tolist() == [[255, 255]] * 2


def test_closed_loop_needs_outputs_like_inputs():
    with pytest.raises(ValueError, match=r"\(3, 2\) and the outputs \(3, 1\)"):
        scenarios.closed_loop(lambda c, x: (c, x[:, :1]), None, jnp.zeros((3, 2)), 3)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        scenarios.closed_loop(lambda c, x: (c, x), None, jnp.zeros((3, 2)), 0)


LOGITS, LABELS = noisy(1, (T, B, V)), words(2, (T, B))
COUNTS = jnp.array([1, 1, 1])


@pytest.mark.parametrize(
    ("attempt", "error", "match"),
    [
        (lambda: scenarios.cross_entropy(LOGITS, LABELS * 1.0), TypeError, "integer ids"),
        (lambda: scenarios.cross_entropy(LOGITS, LABELS[1:]), ValueError, r"expected \(5, 3\)"),
        (lambda: scenarios.cross_entropy(LOGITS, LABELS, LABELS), TypeError, "valid_steps"),
        (lambda: scenarios.cross_entropy(LOGITS, LABELS, LABELS[0] > 0), ValueError, "valid has"),
        (lambda: scenarios.squared_error(LOGITS, LOGITS[1:]), ValueError, "one target for each"),
        (lambda: scenarios.squared_error(LOGITS, LOGITS, LOGITS > 0), ValueError, "valid has"),
        (lambda: scenarios.ctc(LOGITS[0], COUNTS, LABELS, COUNTS), ValueError, r"\[T, B, K\]"),
        (lambda: scenarios.ctc(LOGITS, COUNTS, LABELS * 1.0, COUNTS), TypeError, "integer ids"),
        (lambda: scenarios.ctc(LOGITS, COUNTS, LABELS, COUNTS, blank=V), ValueError, "blank"),
        (lambda: scenarios.ctc(LOGITS, COUNTS + T, LABELS, COUNTS), ValueError, r"0\.\.5"),
        (lambda: scenarios.ctc(LOGITS, COUNTS, LABELS, COUNTS + T), ValueError, r"0\.\.5"),
        (lambda: scenarios.ctc(LOGITS[:0], 0 * COUNTS, LABELS, COUNTS), ValueError, "no steps"),
    ],
)
def test_losses(attempt, error, match):
    with pytest.raises(error, match=match):
        attempt()
