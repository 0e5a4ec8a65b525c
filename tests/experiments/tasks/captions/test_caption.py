"""The task: batches, the loss word by word, evaluation, and trained nets put to use."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from data_files import table, words_of
from learning import random_params, trained
from PIL import Image

from rnnjax.experiments.data import picture
from rnnjax.experiments.data.captions import BEGIN, END, UNKNOWN
from rnnjax.experiments.tasks import TASKS, caption, make_cell
from rnnjax.experiments.tasks.captions import Described, bleu
from rnnjax.experiments.tasks.captions._encoder import Convolutions
from rnnjax.experiments.tasks.captions._model import captioner

SMALL = {"side": 8, "pictures": 24, "test_pictures": 6, "hidden": 12, "channels": 8}
SMALL |= {"embedding": 6, "batch_size": 8, "word_dropout": 0.0}
ATTENTIONS = ("none", "dot", "additive")


@cache
def small(attention):
    return caption(**SMALL, attention=attention)


@cache
def small_problem(attention):
    """Params, a batch, and the compiled loss (params, carry, batch, key)."""
    task = small(attention)
    return random_params(task), task.batches(0)[0], jax.jit(task.loss)


def test_an_epoch_holds_every_caption_once_beside_its_picture():
    texts, vocabulary = words_of()
    batches, seen = small("none").batches(5), []
    for step in range(6):
        batch = batches[step]
        assert batch.pictures.shape == (8, 8, 8, 3)
        for image, ids, n in zip(batch.pictures, batch.words.T, batch.lengths, strict=True):
            assert ids[n - 1] == END
            assert not ids[n:].any()
            text = vocabulary.decode(ids[: n - 1])
            number = next(k for k in range(24) if np.array_equal(picture(k, side=8).image, image))
            assert text in texts[number]
            seen.append((number, text))
    assert sorted(seen) == sorted((k, text) for k, each in enumerate(texts) for text in each)
    np.testing.assert_array_equal(small("none").batches(5)[3].words, batches[3].words)
    assert (small("none").batches(6)[3].words != batches[3].words).any()


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_loss_is_that_of_words_fed_one_by_one(attention):
    params, batch, loss = small_problem(attention)
    cost, (carry, metrics) = loss(params, None, batch, None)
    assert carry is None
    _, vocabulary = words_of()
    model = captioner_like(attention, len(vocabulary), batch.pictures[0])
    state = jax.jit(model.decoder.begin)(params, batch.pictures)
    token, total, right = np.full(8, BEGIN), 0.0, 0
    step = jax.jit(model.decoder.step)
    for t, word in enumerate(batch.words):
        state, logits = step(params, state, token)
        log_probs = jax.nn.log_softmax(logits)
        for b in np.flatnonzero(t < batch.lengths):
            total -= float(log_probs[b, word[b]])
            right += int(logits[b].argmax() == word[b])
        token = word
    assert float(cost) == pytest.approx(total / batch.lengths.sum(), rel=1e-9)
    assert float(metrics["right_words"]) == pytest.approx(right / batch.lengths.sum())


def captioner_like(attention, words, example, **changed):
    options = {"features": 8, "embedding": 6, "dropout": 0.0, "word_dropout": 0.0, **changed}
    kind = None if attention == "none" else attention
    return captioner(make_cell("lstm", 12), words, example, attention=kind, **options)


@pytest.mark.usefixtures("eager")
def test_hidden_words_are_all_but_the_first():
    """With every word but the first hidden, the loss is that of <unk> in their places."""
    _, vocabulary = words_of()
    params, batch, loss = small_problem("none")
    model = captioner_like("none", len(vocabulary), batch.pictures[0], word_dropout=0.999999)
    cost = jax.jit(model.loss)(params, None, batch, jax.random.key(1))[0]
    before = np.full_like(batch.words, UNKNOWN)
    before[0] = BEGIN
    logits = jax.jit(model.decoder.apply)(params, batch.pictures, before)
    costs = optax.softmax_cross_entropy_with_integer_labels(logits, batch.words)
    valid = np.arange(len(before))[:, None] < batch.lengths
    assert float(cost) == pytest.approx(float(np.mean(costs[valid])), rel=1e-9)
    plain = [each(params, None, batch, None)[0] for each in (jax.jit(model.loss), loss)]
    assert plain[0] == plain[1] != cost


def test_what_padding_and_pictures_do_to_the_loss():
    params, batch, compiled = small_problem("additive")

    def loss(batch):
        return compiled(params, None, batch, None)[0]

    longer = batch._replace(words=np.pad(batch.words, ((0, 2), (0, 0)), constant_values=7))
    assert float(loss(longer)) == pytest.approx(float(loss(batch)), rel=1e-12)
    other = batch._replace(pictures=batch.pictures[::-1].copy())
    assert float(loss(other)) != pytest.approx(float(loss(batch)), rel=1e-6)


@pytest.mark.parametrize(("side", "places"), [(8, 16), (9, 25), (32, 64), (33, 25), (64, 64)])
def test_maps_are_small_and_tell_places_apart(side, places):
    module = Convolutions(4, as_map=True)
    shape = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, side, side, 3), jnp.uint8))
    assert shape["params"]["places"].shape == (places, 4)


@cache
def by_heart(attention):
    """Four pictures learned by heart."""
    task = caption(**{**SMALL, "pictures": 4, "hidden": 32, "side": 12}, attention=attention)
    return task, trained(task, 130, 1e-2)


@pytest.mark.parametrize("attention", ["none", "additive"])
def test_it_learns_pictures_by_heart_and_says_what_is_in_them(attention, tmp_path):
    task, params = by_heart(attention)
    say, right = task.infer["caption"], 0
    for k in range(4):
        image, scene = picture(k, side=12)
        text = say(params, image, beams=1)
        right += text in scene.sentences
        Image.fromarray(image).save(tmp_path / "x.png")
        assert say(params, tmp_path / "x.png", beams=1) == text
        assert say(params, str(tmp_path / "x.png"), beams=1) == text
    assert right == 4
    assert say(params, picture(0, side=12).image) in picture(0).scene.sentences  # three beams


def test_evaluation_reads_each_set_and_shuffles_the_first():
    task, params = by_heart("none")
    scores = task.evaluate(params)
    found = [
        task.infer["caption"](params, picture(k, part="pictures", side=12).image, beams=1)
        for k in range(6)
    ]
    references = [picture(k, part="pictures").scene.sentences for k in range(6)]
    assert scores["exact"] == np.mean([f in r for f, r in zip(found, references, strict=True)])
    assert scores["bleu_2"] == pytest.approx(bleu(found, references)[1])
    moved = found[3:] + found[:3]
    assert scores["shuffled_bleu_1"] == pytest.approx(bleu(moved, references)[0])
    assert {"combinations_exact", "combinations_bleu_4"} < scores.keys()
    assert task.metric.name == "exact"
    assert 0 <= task.baselines["best constant sentence"] < 0.5


def test_where_it_looked():
    task, params = by_heart("additive")
    image = picture(0, side=12).image
    found = task.infer["caption"](params, image, beams=1, looked=True)
    assert isinstance(found, Described)
    assert found.caption == task.infer["caption"](params, image, beams=1)
    assert found.looked.shape == (len(found.caption.split()) + 1, 6, 6)
    np.testing.assert_allclose(found.looked.sum(axis=(1, 2)), 1, rtol=1e-6)
    assert found.looked.max() > 2 / 36  # somewhere rather than everywhere
    plain, weights = by_heart("none")
    text = plain.infer["caption"](weights, image)
    assert plain.infer["caption"](weights, image, looked=True) == (text, None)


def folder(tmp_path, count=20):
    for k in range(count):
        Image.fromarray(picture(k, side=12).image).save(tmp_path / f"{k:02}.png")
    table(tmp_path / "captions.txt", {f"{k:02}.png": (f"It's {k} .",) for k in range(count)})
    return tmp_path


def test_what_is_read_is_said():
    assert caption(**{**SMALL, "pictures": 20, "test_pictures": 5}).notes == [
        "20 pictures for training with 40 captions, 5 pictures for testing; 25 words"
    ]


def test_a_folder_of_pictures(tmp_path):
    task = caption(**SMALL, data=folder(tmp_path))
    assert task.metric.name == "bleu_4"
    params, batch = random_params(task), task.batches(0)[0]
    assert batch.pictures.shape == (8, 8, 8, 3)
    assert np.isfinite(jax.jit(task.loss)(params, None, batch, jax.random.key(0))[0])
    scores = task.evaluate(params)
    assert not any(name.startswith("combinations") for name in scores)
    text = task.infer["caption"](params, tmp_path / "03.png", beams=1)
    assert set(text.split()) <= {"it's", *map(str, range(20))}  # no mark is ever written


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("form", "attention", "looked"),
    [
        ((5,), "none", None),
        ((4, 5), "none", None),
        ((2, 3, 5), "dot", (2, 3)),
        ((4, 5), "additive", (2, 2)),
        ((3, 5), "additive", (1, 3)),
    ],
)
def test_given_features(tmp_path, form, attention, looked):
    random = np.random.default_rng(0)
    given = {f"{k:02}": random.normal(size=form) for k in range(20)}
    np.savez(tmp_path / "given.npz", **given)
    options = {**SMALL, "data": folder(tmp_path), "features": tmp_path / "given.npz"}
    task = caption(**options, attention=attention)
    params, batch = random_params(task), task.batches(0)[0]
    assert batch.pictures.shape == (8, *form)
    assert np.isfinite(jax.jit(task.loss)(params, None, batch, None)[0])
    say = partial(task.infer["caption"], beams=1)
    assert isinstance(say(params, given["03"]), str)
    if looked is not None:
        assert say(params, given["03"], looked=True).looked.shape[1:] == looked
    with pytest.raises(ValueError, match="reads precomputed features, not pictures"):
        say(params, tmp_path / "03.png")
    with pytest.raises(ValueError, match="expected the features of one picture"):
        say(params, np.zeros((7, 7)))


def test_wrong_options(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'additive'"):
        caption(attention="aditive")
    with pytest.raises(ValueError, match="part must be one of 'test', 'dev'"):
        caption(part="train")
    with pytest.raises(ValueError, match="word_dropout is a probability"):
        caption(word_dropout=1.0)
    with pytest.raises(ValueError, match="pictures must be at least 1"):
        caption(pictures=0)
    with pytest.raises(ValueError, match="give it too, by data"):
        caption(features=tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", **{f"{k:02}": np.zeros(3) for k in range(20)})
    with pytest.raises(ValueError, match="without positions to attend to"):
        caption(**SMALL, data=folder(tmp_path), features=tmp_path / "x.npz")


def test_it_is_listed():
    assert TASKS["caption"].make is caption
    assert TASKS["caption"].kind == "real"
