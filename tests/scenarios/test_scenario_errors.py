"""What is refused, and that the message says what to do."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from scenario_nets import B, D, H, T, V, embedding, head, noisy, params_of, words
from wrong_inputs import CELL, COUNTS, FIRST, IDS, KEY, LABELS, LOGITS, XS, S, step

import rnnjax
from rnnjax import scenarios
from rnnjax.scenarios._modules import embedded


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
        lambda: scenarios.many_to_one(CELL, head(), embed=nn.Embed),
        lambda: scenarios.many_to_many(CELL, head(), embed=len),
    ],
)
def test_modules_are_needed(make):
    with pytest.raises(TypeError, match=r"module"):
        make()


def test_cells_are_needed():
    with pytest.raises(TypeError, match=r"layer must be a cell such as.*: call it, as in lstm\(64"):
        scenarios.many_to_one(rnnjax.lstm, head())
    both = rnnjax.bidirectional(CELL, CELL)
    with pytest.raises(TypeError, match="runs step by step"):
        scenarios.one_to_many(both, head(), embed=embedding())
    with pytest.raises(TypeError, match="runs step by step"):
        scenarios.encoder_decoder(both, both, head(), embed=embedding())


def test_cells_whose_inputs_are_of_another_kind():
    spatial = rnnjax.conv_lstm(2, (3, 3))
    with pytest.raises(ValueError, match=r"ctrnn\(4\), which reads 2 arrays a step, .* passes one"):
        scenarios.many_to_one(rnnjax.ctrnn(4), head())
    with pytest.raises(ValueError, match=r"a decoder passes it one vector a word"):
        scenarios.one_to_many(spatial, head(), embed=embedding())
    with pytest.raises(ValueError, match=r"attention pooling scores vectors.* 3 feature axes"):
        scenarios.many_to_one(spatial, head(), pooling="attention")
    with pytest.raises(ValueError, match=r"xs has shape \(5, 3, 3\).*\[T, B, D1, D2, D3\]"):
        jax.eval_shape(scenarios.many_to_one(spatial, head()).init, KEY, XS)
    model = scenarios.encoder_decoder(spatial, CELL, head(V), embed=embedding(), attention="dot")
    with pytest.raises(ValueError, match=r"outputs have shape .*attention reads \[S, B, M\]"):
        jax.eval_shape(model.init, jax.random.key(0), noisy(1, (S, B, 3, 3, 1)), IDS)


@pytest.mark.parametrize("bad", [None, "five", {"xs": XS}, [[1.0], [2.0, 3.0]]])
def test_what_is_no_array(bad):
    model = aligned()
    params = params_of(model.init, XS)
    decoder, weights, source = translator()
    for name, attempt in {
        "xs": lambda: model.apply(params, bad),
        "x_t": lambda: model.step(params, model.initial_carry(params, (B,)), bad),
        "source": lambda: decoder.apply(weights, bad, IDS),
        "tokens": lambda: decoder.apply(weights, source, bad),
        "first": lambda: scenarios.greedy(step, None, bad, 3),
        "logits": lambda: scenarios.cross_entropy(bad, LABELS),
        "labels": lambda: scenarios.cross_entropy(LOGITS, bad),
        "outputs": lambda: scenarios.squared_error(bad, LOGITS),
        "ys": lambda: scenarios.pooled("max").apply(None, bad, None),
    }.items():
        with pytest.raises(TypeError, match=f"{name} must be an array"):
            attempt()


def test_params_keys_and_states_of_another_kind():
    model = aligned()
    params = params_of(model.init, XS)
    decoder, weights, source = translator()
    other = scenarios.many_to_one(CELL, head())
    for attempt, wanted in (
        (lambda: model.apply(None, XS), "ManyToManyParams .* got None"),
        (lambda: model.apply(XS, params), "ManyToManyParams"),
        (lambda: other.apply(params, XS), "ManyToOneParams .* got ManyToManyParams"),
        (lambda: decoder.apply(params, source, IDS), "DecoderParams"),
        (lambda: decoder.step(weights, None, IDS[0]), "state must be the DecoderState"),
        (lambda: model.step(params, None, XS[0]), "begin with model.initial_carry"),
        (lambda: model.init(XS, jax.random.key(0)), "key must be a PRNG key"),
        (lambda: other.apply(params_of(other.init, XS), XS, key=0), "key must be a PRNG key"),
        (lambda: scenarios.one_to_one(head()).init(0, XS), "key must be a PRNG key"),
        (lambda: scenarios.sample(step, None, FIRST, 3, 0), "key must be a PRNG key"),
    ):
        with pytest.raises(TypeError, match=wanted):
            attempt()


def test_params_of_another_variant(eager):
    """What a model has no use for would be ignored in silence."""
    plain, embedding_one = aligned(), aligned(embed=head(D))
    mean, attend = (scenarios.many_to_one(CELL, head(), pooling=p) for p in ("mean", "attention"))
    of = {model.init: params_of(model.init, XS) for model in (plain, embedding_one, mean, attend)}
    dot, dots, source = translator("dot")
    additive, sums, _ = translator("additive")
    memory, _, _ = translator("dot", encoder=None)
    caption = scenarios.one_to_many(CELL, head(V), embed=embedding())
    with_context = scenarios.one_to_many(CELL, head(V), embed=embedding(), context=head(H))
    feature = source[0]
    seen = params_of(with_context.init, feature, IDS)
    none = translator(None)[1]
    for attempt, wanted in (
        (lambda: plain.apply(of[embedding_one.init], XS), "params.embed must be None"),
        (lambda: plain.step(of[embedding_one.init], (), XS[0]), "params.embed must be None"),
        (lambda: embedding_one.apply(of[plain.init], XS), "params.embed is None, but .* Dense"),
        (lambda: mean.apply(of[attend.init], XS), "params.pooling must be None"),
        (lambda: attend.apply(of[mean.init], XS), "params.pooling is None, but .* 'attention'"),
        (lambda: dot.apply(sums, source, IDS), "params.attention.query must be None"),
        (lambda: additive.begin(dots, source), "params.attention.query is None, but .* 'additive'"),
        (lambda: dot.apply(none, source, IDS), "params.attention is None, but .* 'dot'"),
        (lambda: memory.apply(dots, source, IDS), "params.encoder.layer must be None"),
        (lambda: caption.apply(seen, feature, IDS), "params.encoder must be None"),
        (lambda: dot.step(dots, translator()[0].begin(none, source), IDS[0]), "state is that of"),
    ):
        with pytest.raises(ValueError, match=wanted):
            attempt()


def test_heads_that_lose_the_steps(eager):
    class Flat(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, param_dtype=float)(x).reshape(-1)

    model = scenarios.many_to_many(CELL, Flat())
    params = params_of(model.init, XS)
    for lengths in (None, [T, 1, 1]):
        with pytest.raises(
            ValueError, match=r"returns \[30\] for \[5, 3, 4\]: expected \[5, ...\]"
        ):
            model.apply(params, XS, lengths=lengths)


COMPLEX = noisy(1, (S, B, D)) * 1j


def test_nothing_drops_an_imaginary_part(eager):
    caption = scenarios.one_to_many(CELL, head(V), embed=embedding())
    memory = scenarios.encoder_decoder(None, CELL, head(V), embed=embedding(), attention="dot")
    weights = params_of(memory.init, COMPLEX.real, IDS)
    complex_logits = lambda state, token: (state, jnp.ones((2, V)) * 1j)  # noqa: E731
    for name, attempt in {
        "logits": lambda: scenarios.cross_entropy(LOGITS * 1j, LABELS),
        "logits have": lambda: scenarios.ctc(LOGITS * 1j, COUNTS, LABELS, COUNTS),
        "ys": lambda: scenarios.pooled("max").apply(None, COMPLEX, None),
        "y": lambda: scenarios.pooled("attention").init(jax.random.key(0), COMPLEX[0]),
        "source": lambda: caption.init(jax.random.key(0), COMPLEX[0], IDS),
        "source has": lambda: memory.apply(weights, COMPLEX, IDS),
        "the logits of step": lambda: scenarios.greedy(complex_logits, None, FIRST, 3),
        "first": lambda: scenarios.closed_loop(lambda c, x: (c, x.real), None, COMPLEX[0], 3),
    }.items():
        with pytest.raises(TypeError, match=f"{name.split(' ha')[0]}.* dtype complex128: .*imag"):
            attempt()


def test_ids_outside_the_embedding(eager):
    """Known, they are an error; traced, NaN; none counts from the end."""
    model = aligned(embed=embedding())
    params = params_of(model.init, IDS)
    decoder, weights, source = translator()
    begin = decoder.begin(weights, source)
    for bad in (-1, V):
        ids = IDS.at[0, 0].set(bad)
        for name, attempt in {
            "xs": lambda ids=ids: model.apply(params, ids),
            "x_t": lambda ids=ids: model.step(params, model.initial_carry(params, (B,)), ids[0]),
            "tokens": lambda ids=ids: decoder.apply(weights, source, ids),
            "token": lambda ids=ids: decoder.step(weights, begin, ids[0]),
        }.items():
            with pytest.raises(ValueError, match=rf"{name} must be ids in 0..5, .*{bad}"):
                attempt()
        padded = IDS.at[-1, 1].set(bad)  # never read
        assert jnp.isfinite(model.apply(params, padded, lengths=[T, T - 1, T])[1]).all()
    rows = jax.vmap(lambda traced: embedded("ids", embedding(), params.embed, traced))
    found = rows(jnp.array([-1, 0, V, -V], jnp.int8))
    assert jnp.isnan(found).all(axis=-1).tolist() == [True, False, True, True]
    with pytest.raises(ValueError, match="first must be ids of words, from 0, got -1"):
        scenarios.greedy(step, None, FIRST - 1, 3)


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
    with pytest.raises(ValueError, match=r"0\.\.4 \(T of source\)"):
        decoder.apply(params, source, IDS, source_lengths=jnp.array([6, 1, 1]))
    with pytest.raises(ValueError, match=r"0\.\.5 \(T of tokens\)"):
        decoder.apply(params, source, IDS, lengths=jnp.array([6, 1, 1]))


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
    with pytest.raises(TypeError, match="source has dtype int64: expected floating-point features"):
        caption.init(jax.random.key(0), IDS, IDS)
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


def test_carries_that_a_scenario_does_not_return():
    model = scenarios.many_to_one(CELL, head(), pooling="attention")
    params = params_of(model.init, XS)
    for attempt in (model.apply, model.weights):
        with pytest.raises(ValueError, match=r"return_carries= has no place .* rnnjax.unroll"):
            attempt(params, XS, return_carries=True)
    decoder, params, source = translator()
    with pytest.raises(ValueError, match="return_carries cannot be given to a decoder"):
        decoder.apply(params, source, IDS, return_carries=True)


def test_masks_that_do_not_fit():
    pooling = scenarios.pooled("mean")
    with pytest.raises(TypeError, match="mask has dtype"):
        pooling.apply(None, XS, None, mask=jnp.ones((T, B)))
    with pytest.raises(ValueError, match=r"mask has shape \(4, 3\): expected \(5, 3\)"):
        pooling.apply(None, XS, [1, 1, 1], mask=jnp.ones((T - 1, B), bool))


def test_gradients_that_attention_does_not_have():
    model, params, source = translator("dot")
    with pytest.raises(ValueError, match="autodiff"):
        model.apply(params, source, IDS, gradient=rnnjax.bptt())


@pytest.mark.parametrize("rate", ["0.5", None, True])
def test_dropout_rates_are_numbers(rate):
    with pytest.raises(TypeError, match="rate must be a real number, got"):
        scenarios.dropout(head(), rate)


def test_dropout_without_a_key_of_its_own_is_off(eager):
    module = scenarios.dropout(head(), 0.5)
    params = params_of(module.init, XS)
    assert (module.apply(params, XS, rngs={"other": KEY}) == module.apply(params, XS)).all()


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_dropout_rates(rate):
    with pytest.raises(
        ValueError, match=r"rate (is a probability in \[0, 1\)|must be a real number)"
    ):
        scenarios.dropout(head(), rate)
    for make in (
        partial(scenarios.one_to_many, CELL, head()),
        partial(scenarios.encoder_decoder, CELL, CELL, head()),
    ):
        with pytest.raises(ValueError, match=r"dropout (is a probability in \[0, 1\)|must be)"):
            make(embed=embedding(), dropout=rate)
