"""The task: words as features, the loss, dropout, classification, and a net that learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data_files import write_reviews
from learning import trained

import rnnjax
from rnnjax.experiments.data.text import _review_data, character_ngrams, distinct_words, fold_split
from rnnjax.experiments.tasks import sentiment
from rnnjax.experiments.tasks.text._review_model import WordFeatures

SMALL = {"hidden": 4, "embedding": 5, "subwords": 50, "batch_size": 8, "folds": 5}
NO_DROPOUT = {"dropout_rate": 0.0, "embedding_dropout": 0.0, "word_dropout": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_reviews(tmp_path_factory.mktemp("sentiment"))


def made(folder, **options):
    return sentiment(data=folder, **{**SMALL, **NO_DROPOUT, **options})


def words(buckets):
    spelling = character_ngrams(["", "dull", "fun", "dully"], buckets)
    return distinct_words([np.array([1, 2, 0]), np.array([3])], 3, spelling, sizes=[4])[0]


@pytest.mark.usefixtures("eager")
def test_features_of_a_word_are_its_own_and_those_of_its_spelling():
    module, batch = WordFeatures(3, 4, buckets=40), words(40)
    params = module.init(jax.random.key(0), batch)
    found = module.apply(params, batch)
    own, grams = (params["params"][name]["embedding"] for name in ("words", "grams"))
    for (t, b), entry, word in (((0, 0), 1, "dull"), ((1, 0), 2, "fun"), ((0, 1), 0, "dully")):
        numbers = [n for n in character_ngrams([word], 40)[0] if n]
        expected = own[entry] + 2 * jnp.mean(grams[jnp.array(numbers)], axis=0)
        np.testing.assert_allclose(found[t, b], expected, rtol=1e-12)
    np.testing.assert_allclose(found[2, 0], own[0], rtol=1e-12)  # <unk> has no spelling
    plain = WordFeatures(3, 4).apply({"params": {"words": {"embedding": own}}}, words(0))
    np.testing.assert_array_equal(plain[0], own[jnp.array([1, 0])])


@pytest.mark.usefixtures("eager")
def test_word_dropout_hides_whole_words_in_training_alone():
    module = WordFeatures(3, 4, buckets=40, word_dropout=0.4)
    batch = words(40)
    batch = batch._replace(places=np.full((300, 10), 1, np.int32))
    params = module.init(jax.random.key(0), batch)
    known, unknown = module.apply(params, batch)[0, 0], params["params"]["words"]["embedding"][0]
    assert (module.apply(params, batch) == known[None, None]).all()
    found = module.apply(params, batch, rngs={"dropout": jax.random.key(1)})
    hidden = (found == unknown[None, None]).all(-1)
    assert (hidden | (found == known[None, None]).all(-1)).all()
    assert hidden.mean() == pytest.approx(0.4, abs=0.04)


def test_dropout_of_features_is_inverted_and_in_training_alone():
    module = WordFeatures(3, 4, dropout=0.25)
    batch = words(0)._replace(places=np.full((300, 10), 1, np.int32))
    params = module.init(jax.random.key(0), batch)
    whole = module.apply(params, batch)
    found = module.apply(params, batch, rngs={"dropout": jax.random.key(1)}) / whole
    kept = found > 0
    assert kept.mean() == pytest.approx(0.75, abs=0.02)
    np.testing.assert_allclose(found[kept], 1 / 0.75, rtol=1e-12)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("options", [{"pooling": "mean", "bidirectional": False}, {"cell": "lstm"}])
def test_loss_by_hand(folder, options):
    task = made(folder, batch_size=3, **options)
    params, batch = task.init(jax.random.key(0)), task.batches(0)[1]
    params = jax.tree.map(lambda leaf: 2 * leaf, params)
    cost, (carry, metrics) = task.loss(params, None, batch, None)
    entries = params.words["params"]["words"]["embedding"].shape[0]
    xs = WordFeatures(entries, 5, buckets=50).apply(params.words, batch.words)
    dense, costs, right = params.net.head["params"], [], []
    for b, n in enumerate(batch.lengths):  # each text by itself, without padding
        x = xs[:n, b]
        if "pooling" in options:
            y = rnnjax.unroll(rnnjax.gru(4), params.net.layer, x)[1].mean(0)
        else:
            both = rnnjax.bidirectional(rnnjax.lstm(4), rnnjax.lstm(4))
            y = both.apply(params.net.layer[0], x)[1].max(0)
        log_p = jax.nn.log_softmax(y @ dense["kernel"] + dense["bias"])
        costs.append(-float(log_p[batch.labels[b]]))
        right.append(int(jnp.argmax(log_p)) == batch.labels[b])
    assert carry is None
    assert float(cost) == pytest.approx(np.mean(costs), rel=1e-10)
    assert float(metrics["accuracy"]) == pytest.approx(np.mean(right), rel=1e-6)


def test_learns_and_puts_what_it_learnt_to_use(folder, monkeypatch):
    monkeypatch.setattr(_review_data, "bucket_sizes", lambda lengths: [int(max(lengths))])
    task = made(folder, word_dropout=0.2, dropout_rate=0.2)
    params = trained(task, 40, 2e-2, dropout=True)
    texts = [
        (line, name)
        for name in ("neg", "pos")
        for line in folder.joinpath(f"rt.{name}").read_text().split("\n")
    ]
    held_out = [texts[k] for k in fold_split(np.repeat([0, 1], 30), 0, 5).test]
    found = task.infer["classify"](params, [text for text, _ in held_out])
    right = [label == name for (label, _), (_, name) in zip(found, held_out, strict=True)]
    scores = task.evaluate(params)
    assert scores["accuracy"] == np.mean(right) == 1.0
    shares = [share for _, share in found]  # of the right class, since all are right
    assert scores["nats"] == pytest.approx(-np.mean(np.log(shares)), rel=1e-6)
    assert scores["nats"] < 0.2
    verdicts = task.infer["classify"](params, ["DULL", "utterly fun"])
    assert [label for label, _ in verdicts] == ["neg", "pos"]
    alone = [task.infer["classify"](params, [text])[0] for text, _ in held_out[:3]]
    for (label, share), (expected, other) in zip(alone, found, strict=False):
        assert label == expected
        assert share == pytest.approx(other, rel=1e-9)  # whatever else is asked for
    assert task.infer["classify"](params, []) == []
    assert 0.5 <= task.infer["classify"](params, [""])[0][1] <= 1
    with pytest.raises(TypeError, match="a list of strings, got 'dull'"):
        task.infer["classify"](params, "dull")


def test_baselines_and_recipe(folder):
    task = made(folder)
    assert task.baselines == {
        "most frequent class": 0.5,
        "naive Bayes": 1.0,
        "naive Bayes, word pairs": 1.0,
    }
    assert task.metric == ("accuracy", "max", "")
    assert task.recipe.steps == 6 * (48 // 8)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", ["dropout_rate", "embedding_dropout", "word_dropout"])
def test_dropout_is_for_training_alone(folder, name):
    task, plain = made(folder, **{name: 0.5}), made(folder)
    params, batch = task.init(jax.random.key(0)), task.batches(0)[0]

    def cost(task, key):
        return float(task.loss(params, None, batch, key)[0])

    with_key = [cost(task, jax.random.key(k)) for k in (1, 1, 2)]
    assert with_key[0] == with_key[1] != with_key[2]
    assert cost(task, None) == cost(plain, None) == cost(plain, jax.random.key(1))
    assert cost(task, None) not in with_key


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("pooling", ["max", "attention"])
def test_recurrence_costs_what_the_loss_does(folder, pooling):
    task = made(folder, bidirectional=False, layers=2, pooling=pooling)
    params, batch = task.init(jax.random.key(0)), task.batches(0)[0]
    part = task.recurrence(params, batch)
    carry, ys = rnnjax.unroll(part.cell, part.params, part.xs, lengths=part.lengths)
    cost = task.loss(params, None, batch, None)[0]
    assert float(part.cost(carry, ys)) == pytest.approx(8 * float(cost), rel=1e-10)
    assert made(folder).recurrence is None


@pytest.mark.usefixtures("eager")
def test_folder_with_a_test_part(tmp_path):
    for part, rows in (("train", 10), ("test", 4)):
        lines = [f"a {word} film,{word}" for word in ("dull", "fun") for _ in range(rows)]
        tmp_path.joinpath(f"{part}.csv").write_text("\n".join(["text,label", *lines, ""]))
    for option in ({"folds": 5}, {"fold": 1}):
        with pytest.raises(ValueError, match=f"{next(iter(option))}=.* has no effect with a test"):
            made(tmp_path, **{"folds": 10, **option})
    task = made(tmp_path, folds=10)
    assert task.notes == [
        f"{tmp_path}: 2 classes of texts, dull (14), fun (14); 20 for training, 8 for testing; "
        "5 words"
    ]
    assert task.baselines["naive Bayes"] == 1.0
    assert task.evaluate(task.init(jax.random.key(0)))["accuracy"] in (0.0, 0.5, 1.0)
    labels = {tuple(task.batches(0)[k].labels.tolist()) for k in range(2)}
    assert all(len(each) == 8 for each in labels)


def test_bad_options(folder):
    for options, message in (
        ({"word_dropout": 1.0}, "word_dropout is a probability"),
        ({"units": "characters"}, "units must be one of 'words', 'spaces'"),
        ({"pooling": "maximum"}, "pooling must be one of"),
        ({"cell": "gro"}, "did you mean 'gru'"),
        ({"fold": 7}, "fold must be one of 0 … 4, got 7"),
        ({"subwords": -1}, "subwords must be at least 1"),
        ({"max_words": 0}, "max_words must be at least 1"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"dataset": "yelp"}, "dataset='yelp' has no effect with data: leave it out"),
        ({"header": False}, "header=False has no effect without a table"),
    ):
        with pytest.raises(ValueError, match=message):
            made(folder, **options)
    for option in ({"text": "x"}, {"label": "x"}, {"header": False}, {"encoding": "ascii"}):
        with pytest.raises(ValueError, match=f"{next(iter(option))}=.* has no effect without data"):
            sentiment(**option)
