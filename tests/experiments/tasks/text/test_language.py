"""Language models: the carried state, perplexity by hand, dropout, and text that goes on."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learning import trained

import rnnjax
from rnnjax.experiments.data.text import open_corpus
from rnnjax.experiments.tasks.text import language, language_model
from rnnjax.experiments.tasks.text._language_model import initial_carry

TEXT = "one sea, two sea. " * 60


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("language") / "sea.txt"
    path.write_text(TEXT)
    return path


def made(file, **options):
    usual = {"hidden": 6, "embedding": 4, "unroll_steps": 5, "batch_size": 3, "dropout_rate": 0.0}
    return language(text=file, **{**usual, **options})


def params_of(task, scale=3.0):
    return jax.tree.map(lambda leaf: scale * leaf, task.init(jax.random.key(1)))


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("options", [{}, {"cell": "lstm", "layers": 2}, {"tied": True}])
def test_state_is_carried_from_batch_to_batch(file, options):
    """The costs of four batches are those of one pass over the joined streams."""
    task = made(file, **options)
    params, carry, batches = params_of(task), task.initial_carry(), task.batches(0)
    costs = []
    for step in range(4):
        cost, (carry, metrics) = task.loss(params, carry, batches[step], None)
        assert metrics["bits"] == pytest.approx(float(cost) / math.log(2))
        costs.append(float(cost))
    tokens, targets = (
        np.concatenate([getattr(batches[step], name) for step in range(4)])
        for name in ("tokens", "targets")
    )
    cell = rnnjax.gru(6) if not options.get("layers") else rnnjax.stack(*[rnnjax.lstm(6)] * 2)
    h, ys = rnnjax.unroll(cell, params.layer, params.embed["params"]["table"]["embedding"][tokens])
    dense = params.head["params"]
    scores = ys @ dense["kernel"] + dense["bias"][None, None]
    if options.get("tied"):
        scores = scores @ params.embed["params"]["table"]["embedding"].T
    nats = -jnp.take_along_axis(jax.nn.log_softmax(scores), targets[..., None], -1)[..., 0]
    np.testing.assert_allclose(costs, nats.reshape(4, 5, 3).mean((1, 2)), rtol=1e-10)
    for got, expected in zip(jax.tree.leaves(carry), jax.tree.leaves(h), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_state_starts_anew_with_an_epoch(file):
    task = made(file)
    params, batches = params_of(task), task.batches(0)
    per_epoch = len(TEXT) * 9 // 10 // 15
    carry = jax.tree.map(lambda leaf: leaf + 0.7, task.initial_carry())
    for step, fresh in ((0, True), (1, False), (per_epoch, True), (per_epoch + 1, False)):
        costs = [
            float(task.loss(params, each, batches[step], None)[0])
            for each in (carry, task.initial_carry())
        ]
        assert (costs[0] == costs[1]) == fresh
        assert bool(batches[step].start) == fresh


@pytest.mark.usefixtures("eager")
def test_error_stops_at_the_carry(file):
    task = made(file)
    params, batch = params_of(task), task.batches(0)[1]
    grads = jax.grad(lambda params: task.loss(params, task.initial_carry(), batch, None)[0])(params)

    def through_the_carry(params):
        return sum(map(jnp.sum, task.loss(params, task.initial_carry(), batch, None)[1][0]))

    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(grads))
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(jax.grad(through_the_carry)(params)))


@pytest.mark.parametrize(("units", "share", "streams"), [("characters", 0.3, 2), ("words", 0.1, 1)])
def test_perplexity_by_hand(file, units, share, streams):
    """Each stream reads the 128 tokens before it, and then every token of its part is scored."""
    task = made(file, units=units, held_out=share)
    params, corpus = params_of(task), open_corpus(file, units=units, held_out=share)
    text, first = np.concatenate([corpus.train, corpus.held_out]), len(corpus.train)
    cell, dense = rnnjax.gru(6), params.head["params"]
    table, nats = params.embed["params"]["table"]["embedding"], []
    step = partial(cell.step, params.layer)
    for part in np.array_split(np.arange(first, len(text)), streams):
        places = np.arange(max(0, part[0] - 128), part[-1])
        ys = jax.lax.scan(step, cell.initial_carry(params.layer, ()), table[text[places]])[1]
        log_p = jax.nn.log_softmax(ys @ dense["kernel"] + dense["bias"][None])
        found = -np.asarray(log_p)[np.arange(len(places)), text[places + 1]]
        nats += found[places + 1 >= part[0]].tolist()
    assert len(nats) == len(corpus.held_out)
    cut = round(len(TEXT) * (1 - share))
    characters = len(TEXT) - (cut if units == "characters" else TEXT.index(" ", cut))
    assert task.evaluate(params) == pytest.approx(
        {
            "nats": np.mean(nats),
            "perplexity": math.exp(np.mean(nats)),
            "nats_per_character": sum(nats) / characters,
            "bits_per_character": sum(nats) / characters / math.log(2),
        },
        rel=1e-9,
    )
    assert task.metric.name == ("perplexity" if units == "words" else "nats_per_character")


def test_learns_what_an_n_gram_cannot(file):
    """A comma or a full stop? A context of four characters does not tell."""
    task = made(file, hidden=24, embedding=8, unroll_steps=20)
    params = trained(task, 200, 2e-2)
    best = min(task.baselines.values())
    assert list(task.baselines) == ["1-gram", "2-gram", "3-gram", "4-gram", "5-gram"]
    assert task.baselines["5-gram"] == best >= math.log(2) / 9
    assert task.evaluate(params)["nats"] < 0.5 * best
    generate = task.infer["generate"]
    assert generate(params, "one sea", 30, key=jax.random.key(0), top_k=1) in TEXT
    assert generate(params, "two sea", 30, key=jax.random.key(0), top_k=1) in TEXT


def test_text_goes_on_from_a_prompt(file):
    task = made(file)
    params = params_of(task)
    corpus = open_corpus(file)

    def generate(prompt, length, key=0, **options):
        return task.infer["generate"](params, prompt, length, key=jax.random.key(key), **options)

    written = generate("sea", 8)
    assert len(written) == 11
    assert written.startswith("sea")
    assert set(written) <= set(TEXT)
    assert written == generate("sea", 8)
    assert len({generate("sea", 8, key) for key in range(4)}) == 4
    greedy = generate("sea", 8, top_k=1)
    assert greedy == generate("sea", 8, key=1, temperature=1e-6) == generate("sea", 8, top_p=1e-9)
    ids = corpus.vocabulary.encode("sea").tolist()
    dense, table = params.head["params"], params.embed["params"]["table"]["embedding"]
    cell = rnnjax.gru(6)
    carry = cell.initial_carry(params.layer, ())
    for at in range(10):
        carry, y = cell.step(params.layer, carry, table[ids[at]])
        if at + 1 == len(ids):  # the likeliest, over and over, but never <unk>
            ids.append(1 + int(jnp.argmax((y @ dense["kernel"] + dense["bias"])[1:])))
    assert greedy == corpus.vocabulary.decode(ids)
    assert len(generate("", 8)) == 8
    with pytest.warns(
        UserWarning, match="^prompt has characters .* vocabulary: 'Q'; it reads <unk>"
    ):
        assert len(generate("Q", 8)) == 9


def test_words_go_on_with_lines(tmp_path):
    tmp_path.joinpath("a.txt").write_text("the sea .\nthe sea .\n" * 60)
    task = made(tmp_path / "a.txt", units="words")
    generate = task.infer["generate"]
    written = generate(task.init(jax.random.key(0)), "the sea", 30, key=jax.random.key(0))
    assert written.startswith("the sea ")
    assert "\n" in written
    assert set(written.split()) == {"the", "sea", "."}
    assert len(generate(task.init(jax.random.key(0)), "", 9, key=jax.random.key(0))) > 0


def test_a_prompt_of_spaces_is_none(tmp_path):
    tmp_path.joinpath("a.txt").write_text("the sea .\nthe sea .\n" * 60)
    for units in ("words", "spaces"):
        task = made(tmp_path / "a.txt", units=units)
        params, key = task.init(jax.random.key(0)), jax.random.key(0)
        written = [
            task.infer["generate"](params, prompt, 9, key=key) for prompt in ("", "  ", "\t")
        ]
        assert written[0] == written[1] == written[2] != ""


def test_text_of_many_characters_has_baselines_of_shorter_contexts(tmp_path):
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 6300))) * 4
    tmp_path.joinpath("a.txt").write_text(text, encoding="utf-8")
    baselines = made(tmp_path / "a.txt").baselines
    assert list(baselines) == ["1-gram", "2-gram", "3-gram", "4-gram"]
    assert baselines["1-gram"] == pytest.approx(math.log(6300), rel=0.02)
    assert baselines["2-gram"] < 3


def test_a_vocabulary_needs_room(file):
    with pytest.raises(ValueError, match="max_words must be above 2"):
        made(file, units="words", max_words=2)
    assert made(file, units="words", max_words=3).baselines["1-gram"] > 1


def test_bad_requests(file):
    task = made(file)
    params, key = task.init(jax.random.key(0)), jax.random.key(0)
    generate = task.infer["generate"]
    with pytest.raises(ValueError, match="length must be at least 1"):
        generate(params, "a", 0, key=key)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        generate(params, "a", 5, key=key, temperature=0.0)
    with pytest.raises(ValueError, match=r"top_p is a probability in \(0, 1\]"):
        generate(params, "a", 5, key=key, top_p=1.5)
    with pytest.raises(ValueError, match="top_k"):
        generate(params, "a", 5, key=key, top_k=0)
    with pytest.raises(ValueError, match="text must be given"):
        language()
    with pytest.raises(
        ValueError, match=r"sea\.txt has 972 tokens, and a batch of 3 streams of 999 steps"
    ):
        made(file, unroll_steps=999)
    with pytest.raises(ValueError, match="part='test' has no effect on a single file"):
        made(file, part="test")
    with pytest.raises(ValueError, match="dropout_rate is a probability"):
        made(file, dropout_rate=1.0)
    with pytest.raises(ValueError, match="embedding_dropout is a probability"):
        made(file, embedding_dropout=-0.1)


@pytest.mark.parametrize("rate", [{"dropout_rate": 0.5}, {"embedding_dropout": 0.5}])
def test_dropout_is_for_training_alone(file, rate):
    task, plain = made(file, **rate), made(file)
    params, batch = params_of(task), task.batches(0)[0]

    def cost(task, key):
        return float(task.loss(params, task.initial_carry(), batch, key)[0])

    with_key = [cost(task, jax.random.key(k)) for k in (1, 1, 2)]
    assert with_key[0] == with_key[1] != with_key[2]
    assert cost(task, None) == cost(plain, None) == cost(plain, jax.random.key(1))
    assert cost(task, None) not in with_key
    assert task.evaluate(params) == plain.evaluate(params)


def test_recurrence_costs_what_the_loss_does(file):
    for options in ({}, {"tied": True}):
        task = made(file, **options)
        params, batch = params_of(task), task.batches(0)[0]
        recurrence = task.recurrence(params, batch)
        carry, ys = rnnjax.unroll(recurrence.cell, recurrence.params, recurrence.xs)
        cost = task.loss(params, task.initial_carry(), batch, None)[0]
        assert float(recurrence.cost(carry, ys)) == pytest.approx(3 * float(cost), rel=1e-10)


def test_model_runs_step_by_step():
    model = language_model(rnnjax.lstm(5), vocabulary=7, embedding=4, tied=True)
    tokens = jax.random.randint(jax.random.key(1), (6, 2), 0, 7)
    params = model.net.init(jax.random.key(0), tokens)
    _, expected = model.net.apply(params, tokens)
    carry = initial_carry(model, params, 2)
    for t in range(6):
        carry, scores = model.net.step(params, carry, tokens[t])
        np.testing.assert_allclose(scores, expected[t], rtol=1e-10)
