"""One-to-many and encoder-decoder: the loop written out, with attention."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoder_nets import ATTENTIONS, SOURCE_LENGTHS, F, S, caption, translate
from scenario_nets import (
    CELLS,
    RAGGED,
    B,
    D,
    H,
    T,
    V,
    assert_close,
    dense,
    embedding,
    example,
    head,
    noisy,
    outputs_by_loop,
    params_of,
    softmax,
    stepper,
    table,
    words,
)

import rnnjax
from rnnjax import scenarios

pytestmark = pytest.mark.usefixtures("eager")


def initial_carry(name, params, summary):
    """tanh(summary W + b) for every leaf of the carry of one sequence."""
    carry = CELLS[name].initial_carry(params.cell, ())
    paths, tree = jax.tree_util.tree_flatten_with_path(carry)
    maps = [params.bridge[jax.tree_util.keystr(path)] for path, _ in paths]
    return jax.tree.unflatten(tree, [jnp.asarray(np.tanh(dense(m, summary))) for m in maps])


def attend(kind, params, y, memory):
    """Weights and context of one query over one memory [S, M]."""
    keys = dense(params.keys, memory)
    if kind == "dot":
        scores = keys @ y / np.sqrt(H)
    else:
        scores = dense(params.score, np.tanh(dense(params.query, y) + keys))[:, 0]
    weights = softmax(scores)
    return weights, weights @ memory


def decoded_by_loop(kind, name, params, carry, memory, ids):
    """Logits and attention weights of one sequence, word by word."""
    context, logits, weights = np.zeros(memory.shape[-1]), [], []
    for token in np.asarray(ids):
        x_t = table(params.embed)[token]
        if kind is not None:
            x_t = np.concatenate([x_t, context])
        carry, y = stepper(name)(params.cell, carry, jnp.asarray(x_t))
        y = np.asarray(y)
        if kind is not None:
            now, context = attend(kind, params.attention, y, memory)
            weights.append(now)
            y = np.concatenate([y, context])
        logits.append(dense(params.head, y))
    return np.array(logits), np.array(weights)


@pytest.mark.parametrize("name", CELLS)
def test_one_to_many_is_the_loop(name):
    model, params, feature, ids = caption(name)
    logits = jax.jit(model.apply)(params, feature, ids, lengths=RAGGED)
    for b, n in enumerate(RAGGED):
        carry = initial_carry(name, params, feature[b])
        _, ys = outputs_by_loop(
            name, params.cell, table(params.embed)[np.asarray(ids[:n, b])], carry
        )
        assert_close(logits[:n, b], dense(params.head, ys))
        assert not np.asarray(logits)[n:, b].any()
    assert model.attention is None


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("name", ["deep", "own"])
def test_encoder_decoder_is_the_loop(name, attention):
    model, params, source, ids = translate(attention, name, encoder="deep")
    apply = jax.jit(model.apply)
    logits = apply(params, source, ids, source_lengths=SOURCE_LENGTHS, lengths=RAGGED)
    for b, (s, n) in enumerate(zip(SOURCE_LENGTHS, RAGGED, strict=True)):
        last, memory = outputs_by_loop("deep", params.encoder.layer, source[:s, b])
        carry = initial_carry(name, params, np.concatenate(jax.tree.leaves(last)))
        want, where = decoded_by_loop(attention, name, params, carry, memory, ids[:n, b])
        assert_close(logits[:n, b], want)
        assert not np.asarray(logits)[n:, b].any()
        if attention is not None:
            assert where.shape == (n, s)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_memory_without_an_encoder(attention):
    model = scenarios.encoder_decoder(
        None, CELLS["lstm"], head(V), embed=embedding(), attention=attention
    )
    memory, ids = noisy(1, (S, B, F)), words(2, (T, B))
    params = params_of(model.init, memory, ids)
    garbage = memory.at[1:, 1].set(jnp.nan).at[3:, 2].set(1e9)
    logits = jax.jit(model.apply)(params, garbage, ids, source_lengths=SOURCE_LENGTHS)
    for b, s in enumerate(SOURCE_LENGTHS):
        seen = np.asarray(memory[:s, b])
        carry = initial_carry("lstm", params, seen.mean(axis=0))
        want, _ = decoded_by_loop(attention, "lstm", params, carry, seen, ids[:, b])
        assert_close(logits[:, b], want)


def test_attention_weights():
    model, params, source, ids = translate("additive", encoder="own")
    weights = jax.jit(model.attention)(
        params, source, ids, source_lengths=SOURCE_LENGTHS, lengths=RAGGED
    )
    state = model.begin(params, source, source_lengths=SOURCE_LENGTHS)
    step = jax.jit(model.step)
    for t in range(T):
        state, _ = step(params, state, ids[t])
        for b, (s, n) in enumerate(zip(SOURCE_LENGTHS, RAGGED, strict=True)):
            if t < n:
                assert_close(weights[t, b], state.weights[b])
                assert_close(jnp.sum(weights[t, b, :s]), 1.0)
            assert not np.asarray(weights)[t, b, s:].any()
    for b, (s, n) in enumerate(zip(SOURCE_LENGTHS, RAGGED, strict=True)):
        last, memory = outputs_by_loop("own", params.encoder.layer, source[:s, b])
        carry = initial_carry("lstm", params, last)
        _, where = decoded_by_loop("additive", "lstm", params, carry, memory, ids[:n, b])
        assert_close(weights[:n, b, :s], where)


def test_a_reset_means_the_cells_own_initial_carry():
    model, params, feature, ids = caption()
    resets = jnp.zeros((T, B), bool).at[2, 1].set(True)
    whole = jax.jit(model.apply)(params, feature, ids)
    got = jax.jit(model.apply)(params, feature, ids, resets=resets)
    _, ys = outputs_by_loop("lstm", params.cell, table(params.embed)[np.asarray(ids[2:, 1])])
    assert_close(got[2:, 1], dense(params.head, ys))
    assert_close(got[:2, 1], whole[:2, 1])
    assert_close(got[:, ::2], whole[:, ::2])


@pytest.mark.parametrize("attention", [None, "dot"])
def test_a_reset_keeps_the_randomness_of_the_key(attention):
    model, params, source, ids = translate(attention, "random")
    resets = jnp.zeros((T, B), bool).at[2].set(True)
    key, cell = jax.random.key(1), CELLS["random"]
    got = model.apply(params, source, ids, key=key, resets=resets)
    whole = model.apply(params, source, ids, key=key)
    assert_close(got[:2], whole[:2])
    begin = jax.random.split(key)[0]
    state = model.begin(params, source, key=begin)
    fresh = cell.initial_carry(params.cell, (B,), jax.random.split(begin)[1])
    if attention is None:
        state = state._replace(carry=fresh)
    else:
        context = jnp.zeros_like(state.carry.context)
        state = state._replace(carry=type(state.carry)(fresh, context))
    for t in range(2, T):
        state, logits = model.step(params, state, ids[t])
        assert_close(got[t], logits)


@pytest.mark.parametrize("attention", [None, "additive"])
@pytest.mark.parametrize("kind", ["encoder", "memory", "feature"])
def test_an_empty_batch_decodes_to_nothing(kind, attention):
    if kind == "feature":
        model, params, source, ids = caption("deep")
    else:
        encoder = CELLS["own"] if kind == "encoder" else None
        model = scenarios.encoder_decoder(
            encoder, CELLS["deep"], head(V), embed=embedding(), attention=attention
        )
        source, ids = noisy(1, (S, B, D)), words(2, (T, B))
        params = params_of(model.init, source, ids)
    source, ids = source[..., :0, :], ids[:, :0]
    assert model.apply(params, source, ids).shape == (T, 0, V)
    step, state = partial(model.step, params), model.begin(params, source)
    assert scenarios.greedy(step, state, ids[0], 3, end=0).tokens.shape == (3, 0)
    sampled = model.apply(params, source, ids, sampling=0.5, key=jax.random.key(0))
    assert sampled.shape == (T, 0, V)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_steps_are_the_whole_sequence(attention):
    model, params, source, ids = translate(attention, "deep")
    state = model.begin(params, source, source_lengths=SOURCE_LENGTHS)
    logits = jax.jit(model.apply)(params, source, ids, source_lengths=SOURCE_LENGTHS)
    step = jax.jit(model.step)
    for t in range(T):
        state, now = step(params, state, ids[t])
        assert_close(now, logits[t])
    assert all(leaf.shape[0] == B for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize("name", ["lstm", "deep"])
def test_captioning_as_one_to_many_is_many_to_many_under_teacher_forcing(name):
    """Given the image and the words before, it is one computation: values and gradients."""
    forced, params, feature, ids = caption(name)
    aligned = scenarios.many_to_many(CELLS[name], head(V), embed=embedding())
    next_words, valid = words(4, (T, B)), scenarios.valid_steps(RAGGED, T)

    def one_to_many(params):
        return scenarios.cross_entropy(
            forced.apply(params, feature, ids, lengths=RAGGED), next_words, valid
        )

    def many_to_many(params):
        carry = forced.begin(params, feature).carry  # the image; the rest reads previous words
        same = scenarios.ManyToManyParams(params.embed, params.cell, params.head)
        _, logits = aligned.apply(same, ids, carry=carry, lengths=RAGGED)
        return scenarios.cross_entropy(logits, next_words, valid)

    one, many = (jax.jit(jax.value_and_grad(f))(params) for f in (one_to_many, many_to_many))
    assert_close(one, many)
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(one[1]))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_padding_never_changes_loss_or_gradients(attention):
    model, params, source, ids = translate(attention, name="own")
    labels = words(4, (T, B))

    def cost(params, source, source_lengths, ids, lengths, labels):
        logits = model.apply(params, source, ids, source_lengths=source_lengths, lengths=lengths)
        return scenarios.cross_entropy(logits, labels, scenarios.valid_steps(lengths, len(ids)))

    of = jax.jit(jax.value_and_grad(cost))
    dirty = source.at[1:, 1].set(jnp.nan).at[3:, 2].set(jnp.inf)
    junk = [a.at[2:, 1].set(-7).at[3:, 2].set(10**6) for a in (ids, labels)]
    value, grads = of(params, dirty, SOURCE_LENGTHS, junk[0], RAGGED, junk[1])
    whole = of(params, source, SOURCE_LENGTHS, ids, RAGGED, labels)
    assert_close((value, grads), whole)
    if attention != "additive":
        return  # one compilation for each length costs more than the rest
    share, alone = RAGGED / RAGGED.sum(), []
    for b, (s, n) in enumerate(zip(SOURCE_LENGTHS, RAGGED, strict=True)):
        one = slice(b, b + 1)
        alone.append(
            of(
                params,
                source[:s, one],
                SOURCE_LENGTHS[one],
                ids[:n, one],
                RAGGED[one],
                labels[:n, one],
            )
        )
    weighted = [jax.tree.map(lambda g, w=w: w * g, a) for w, a in zip(share, alone, strict=True)]
    assert_close((value, grads), jax.tree.map(lambda *g: sum(g), *weighted))


def test_context_module_and_source_embedding_are_applied_first():
    cnn = head(F)
    model = scenarios.one_to_many(CELLS["lstm"], head(V), embed=embedding(), context=cnn)
    image, ids = noisy(1, (B, 7)), words(2, (T, B))
    params = params_of(model.init, image, ids)
    plain = scenarios.one_to_many(CELLS["lstm"], head(V), embed=embedding())
    feature = jnp.asarray(dense(params.encoder, image))
    want = plain.apply(params._replace(encoder=None), feature, ids)
    assert_close(model.apply(params, image, ids), want)

    model = scenarios.encoder_decoder(
        CELLS["lstm"], CELLS["lstm"], head(V), embed=embedding(), source_embed=embedding()
    )
    source = words(5, (S, B))
    params = params_of(model.init, source, ids)
    plain, *_ = translate(None)
    embedded = jnp.asarray(table(params.encoder.embed)[np.asarray(source)])
    without = params._replace(encoder=params.encoder._replace(embed=None))
    assert_close(model.apply(params, source, ids), plain.apply(without, embedded, ids))

    model = scenarios.encoder_decoder(
        None, CELLS["lstm"], head(V), embed=embedding(), source_embed=cnn, attention="dot"
    )
    image = noisy(1, (S, B, 7))
    params = params_of(model.init, image, ids)
    plain = scenarios.encoder_decoder(
        None, CELLS["lstm"], head(V), embed=embedding(), attention="dot"
    )
    without = params._replace(encoder=params.encoder._replace(embed=None))
    memory = jnp.asarray(dense(params.encoder.embed, image))
    assert_close(model.apply(params, image, ids), plain.apply(without, memory, ids))


def test_bidirectional_encoder():
    both = rnnjax.bidirectional(CELLS["lstm"], CELLS["own"])
    model = scenarios.encoder_decoder(
        both, CELLS["lstm"], head(V), embed=embedding(), attention="dot"
    )
    source, ids = noisy(1, (S, B, D)), words(2, (T, B))
    params = params_of(model.init, source, ids)
    logits = jax.jit(model.apply)(params, source, ids, source_lengths=SOURCE_LENGTHS)
    for b, s in enumerate(SOURCE_LENGTHS):
        layers = params.encoder.layer
        first, forward = outputs_by_loop("lstm", layers[0], source[:s, b])
        last, backward = outputs_by_loop("own", layers[1], source[:s, b][::-1])
        summary = np.concatenate([*first, last])
        memory = np.concatenate([forward, backward[::-1]], axis=-1)
        carry = initial_carry("lstm", params, summary)
        want, _ = decoded_by_loop("dot", "lstm", params, carry, memory, ids[:, b])
        assert_close(logits[:, b], want)


def test_dropout_and_random_cells_draw_from_the_key_alone():
    model = scenarios.encoder_decoder(
        CELLS["random"],
        CELLS["random"],
        head(V),
        embed=embedding(),
        attention="dot",
        dropout=0.3,
    )
    source, ids = noisy(1, (S, B, D)), words(2, (T, B))
    params = params_of(model.init, source, ids)
    apply = jax.jit(model.apply)
    one, same, other = (apply(params, source, ids, key=jax.random.key(k)) for k in (1, 1, 2))
    assert_close(one, same)
    assert np.abs(one - other).max() > 1e-3
    plain, *_ = translate("dot", "random", encoder="random")
    assert_close(apply(params, source, ids), jax.jit(plain.apply)(params, source, ids))
    begin = model.begin(params, source, key=jax.random.key(1))
    keys = [v for v in jax.tree.leaves(begin) if jnp.issubdtype(v.dtype, jax.dtypes.prng_key)]
    assert len(keys) == 2
    assert scenarios.greedy(partial(model.step, params), begin, ids[0], 3).tokens.shape == (3, B)


def test_dropout_drops_features_at_its_rate():
    """What the head reads is either gone or scaled up: here the head shows it."""
    wide = head(H)
    model = scenarios.one_to_many(CELLS["own"], wide, embed=embedding(), dropout=0.25)
    feature, ids = noisy(1, (500, F)), words(2, (1, 500))
    params = params_of(model.init, feature, ids)
    params = params._replace(head={"params": {"kernel": jnp.eye(H), "bias": jnp.zeros(H)}})
    silent = params._replace(embed=jax.tree.map(jnp.zeros_like, params.embed))  # nothing to drop
    apply = jax.jit(model.apply)
    kept = np.asarray(apply(silent, feature, ids))
    dropped = np.asarray(apply(silent, feature, ids, key=jax.random.key(0)))
    gone = dropped == 0
    assert_close(dropped[~gone], kept[~gone] / 0.75)
    assert abs(gone.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / gone.size)


def test_state_of_one_example_does_not_see_the_others():
    model, params, source, ids = translate("additive")

    @jax.jit
    def run(params, source, token):
        return model.step(params, model.begin(params, source), token)

    state, logits = run(params, source, ids[0])
    alone, own_logits = run(params, source[:, 1:2], ids[0, 1:2])
    assert_close(own_logits[0], logits[1])
    assert_close(example(alone, 0), example(state, 1))


def test_init_draws_what_its_parts_draw():
    model, _, source, ids = translate("additive")
    params = jax.jit(model.init)(jax.random.key(0), source, ids)
    assert params.cell.w_x.shape == (3 + H, 4 * H)  # an embedded word beside a context
    assert params.head["params"]["kernel"].shape == (2 * H, V)
    other = jax.jit(model.init)(jax.random.key(1), source, ids)
    for a, b in zip(*map(jax.tree.leaves, (params, other)), strict=True):
        assert a.dtype == jnp.float64
        assert bool((np.asarray(a) != np.asarray(b)).any()) == (a.ndim > 1)


def test_a_complex_state_crosses_the_bridge_as_pairs_of_real_numbers():
    cell = rnnjax.lru(2)
    model = scenarios.encoder_decoder(cell, cell, head(V), embed=embedding())
    source, ids = noisy(1, (S, B, D)), words(2, (T, B))
    params = params_of(model.init, source, ids, scale=0.3)

    @jax.jit
    def run(params):
        last, _ = rnnjax.unroll(cell, params.encoder.layer, source)
        grads = jax.grad(lambda params: jnp.sum(model.apply(params, source, ids) ** 2))(params)
        return last, model.begin(params, source), grads

    last, begun, grads = run(params)
    summary = np.concatenate([np.real(last.h), np.imag(last.h)], axis=-1)
    pairs = np.tanh(dense(params.bridge[".h"], summary))
    assert_close(begun.carry.h, pairs[:, :2] + 1j * pairs[:, 2:])
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(grads.bridge))


def test_features_stay_real_for_a_cell_with_complex_params():
    def step(params, h, x_t):
        assert not jnp.iscomplexobj(x_t)
        h = h @ params["turn"] + x_t @ params["w"]
        return h, h.real

    cell = rnnjax.Cell(
        lambda key, size: {"turn": jnp.zeros((H, H), complex), "w": jnp.ones((size, H))},
        lambda params, batch_shape: jnp.zeros((*batch_shape, H), complex),
        step,
    )
    model = scenarios.one_to_many(cell, head(V), embed=embedding())
    feature, ids = noisy(1, (B, F)), words(2, (T, B))
    params = params_of(model.init, feature, ids)
    state = model.begin(params, feature)
    logits = jax.jit(model.apply)(params, feature, ids)
    _, first = jax.jit(model.step)(params, state, ids[0])
    assert_close(first, logits[0])
