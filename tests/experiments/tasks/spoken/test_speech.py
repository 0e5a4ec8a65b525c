"""The task: features and batches, both losses, decoding, and files put through the net."""

from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data_files import flat
from learning import trained
from test_ctc import plain_distance

import rnnjax
from rnnjax.experiments.data import pad
from rnnjax.experiments.data.audio import (
    FrontEnd,
    _examples,
    speak,
    synthetic_recordings,
    voice,
    write_wav,
)
from rnnjax.experiments.data.audio._formants import RATE
from rnnjax.experiments.tasks.spoken import _speech, _strings, speech
from rnnjax.experiments.tasks.spoken._setup import augment
from rnnjax.experiments.tasks.spoken._words import linear_accuracy, most_common

FEW = {"filters": 10, "hidden": 6, "batch_size": 4}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(_speech, "synthetic_recordings", small)
    monkeypatch.setattr(_strings, "_TEST_BATCHES", 4)
    monkeypatch.setattr(_examples, "bucket_sizes", lambda lengths: [int(max(lengths))])
    monkeypatch.setattr(_examples, "pad", partial(pad, sizes=(32, 96)))


@cache
def small(*_):
    return synthetic_recordings(4, 1)


def test_what_is_read_is_said():
    words = ", ".join(f"{digit} (3)" for digit in range(10))
    assert speech(**FEW).notes == [
        "recordings at 8,000 Hz: 30 for training, 10 for testing by other speakers, speaker3; "
        f"training recordings of each word: {words}"
    ]


def test_names_with_numbers_are_said_in_order(monkeypatch):
    monkeypatch.setattr(_speech, "synthetic_recordings", lambda *_: synthetic_recordings(12, 1))
    with pytest.raises(ValueError, match=r"there are speaker0, speaker1, speaker2, .*, speaker11;"):
        speech(**FEW, held_out="speaker99")
    assert "other speakers, speaker9, speaker10, speaker11; " in speech(**FEW).notes[0]


def test_batches_hold_a_training_word_at_most_once_an_epoch():
    task = speech(**FEW)
    batches = task.batches(3)
    seen = [batches[step] for step in range(7)]  # 28 of 30 words
    assert {len(batch.labels) for batch in seen} == {4}
    assert np.bincount(np.concatenate([b.labels for b in seen])).max() == 3
    front_end = FrontEnd(RATE, 10, 3)
    words = {front_end(small().samples(k)).tobytes(): k for k in range(30)}
    for batch in seen:
        for b, (label, length) in enumerate(zip(batch.labels, batch.lengths, strict=True)):
            number = words.pop(np.ascontiguousarray(batch.xs[:length, b]).tobytes())
            assert small().entries[number].label == str(label)
            assert not batch.xs[length:, b].any()
    assert len(words) == 2  # left out of this epoch
    np.testing.assert_array_equal(task.batches(3)[100].xs, batches[100].xs)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("pooling", ["last", "mean", "sum"])
def test_recurrence_has_the_cost_of_the_loss(pooling):
    task = speech(**FEW, bidirectional=False, pooling=pooling)
    params, batch = task.init(jax.random.key(1)), task.batches(0)[1]
    cost, (_, metrics) = task.loss(params, None, batch, None)
    cell, weights, xs, summed, lengths, _ = task.recurrence(params, batch)
    carry, ys = rnnjax.unroll(cell, weights, xs, lengths=lengths)
    assert float(summed(carry, ys)) == pytest.approx(len(batch.labels) * float(cost), rel=1e-6)
    head = params.head["params"]
    for b, n in enumerate(batch.lengths):
        y = np.asarray(ys[:n, b])
        pooled = {"last": y[-1], "mean": y.mean(0), "sum": y.sum(0)}[pooling]
        logits = pooled @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
        cost = cost + np.log(np.exp(logits)[batch.labels[b]] / np.exp(logits).sum()) / 4
    assert float(cost) == pytest.approx(0, abs=1e-6)
    assert 0 <= float(metrics["accuracy"]) <= 1


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("pooling", ["max", "attention"])
def test_recurrence_pools_as_the_loss_does(pooling):
    task = speech(**FEW, bidirectional=False, pooling=pooling)
    params, batch = task.init(jax.random.key(1)), task.batches(0)[1]
    cell, weights, xs, summed, lengths, _ = task.recurrence(params, batch)
    outputs = rnnjax.unroll(cell, weights, xs, lengths=lengths)
    cost = task.loss(params, None, batch, None)[0]
    assert float(summed(*outputs)) == pytest.approx(len(batch.labels) * float(cost), rel=1e-6)


def test_no_recurrence_where_the_layer_is_not_a_cell():
    assert speech(**FEW).recurrence is None


def test_it_learns_words_and_puts_them_to_use(tmp_path):
    task = speech(**FEW, dropout_rate=0.0)
    params = trained(task, 60, 2e-2)
    assert task.evaluate(params)["accuracy"] >= 0.4  # 0.1 by guessing
    assert task.baselines["most frequent word"] == pytest.approx(0.1)
    assert 0.3 < task.baselines["linear"] <= 1
    paths = [tmp_path / f"{digit}.wav" for digit in range(10)]
    for digit, path in enumerate(paths):
        write_wav(path, speak(digit, voice(0, 0), (9, digit)), RATE)
    found = task.infer["classify"](params, paths)
    assert sum(word == str(digit) for digit, (word, _) in enumerate(found)) >= 8
    assert all(0 < share <= 1 for _, share in found)
    alone = task.infer["classify"](params, str(paths[4]))
    assert alone[0][0] == found[4][0]
    assert alone[0][1] == pytest.approx(found[4][1], rel=1e-5)


def test_it_learns_strings_and_writes_them_down(tmp_path):
    task = speech(mode="ctc", **{**FEW, "hidden": 24, "batch_size": 16}, words=2, dropout_rate=0.0)
    params = trained(task, 150, 2e-2)
    scores = task.evaluate(params)
    assert scores["label_error_rate"] < 0.75 < task.baselines["empty string"]
    assert 0.05 < scores["exact"] <= 1
    samples = [small().samples(10 + digit) for digit in (7, 3)]  # words of training
    write_wav(tmp_path / "t.wav", np.concatenate(samples), RATE)
    (said,) = task.infer["transcribe"](params, [tmp_path / "t.wav"])
    assert plain_distance(said.split(), ["7", "3"]) <= 1


def test_cost_of_strings_by_every_alignment():
    task = speech(mode="ctc", **FEW, words=1, bidirectional=False)
    params = task.init(jax.random.key(0))
    batch = task.batches(0)[0]
    few = jnp.array([3, 4, 2, 3])
    batch = batch._replace(lengths=few, xs=batch.xs[:4])
    model = rnnjax.scenarios.many_to_many(
        rnnjax.lstm(6), rnnjax.scenarios.dropout(nn.Dense(11), 0.3)
    )
    logits = jax.jit(model.apply)(params, jnp.asarray(batch.xs, float))[1]
    probs = np.asarray(jax.nn.softmax(logits))
    costs = []
    for b, n in enumerate(few):
        label = batch.labels[0, b]
        total = 0.0
        for first in range(n):  # the label stands on steps first … last, blanks elsewhere
            for last in range(first, n):
                path = [label if first <= t <= last else 0 for t in range(n)]
                total += np.prod([probs[t, b, k] for t, k in enumerate(path)])
        costs.append(-np.log(total))
    cost = float(jax.jit(task.loss)(params, None, batch, None)[0])
    assert cost == pytest.approx(np.mean(costs), rel=1e-4)


@pytest.mark.usefixtures("eager")
def test_blanks_cover_one_band_and_one_stretch():
    xs = jnp.ones((40, 200, 2 * 10))
    lengths = jnp.arange(200) % 40 + 1
    found = np.asarray(augment(jax.random.key(0), xs, lengths, 10))
    assert set(np.unique(found)) == {0, 1}
    for b in range(200):
        gone = found[:, b] == 0
        steps, features = np.flatnonzero(gone.all(axis=1)), np.flatnonzero(gone.all(axis=0))
        assert len(steps) <= 0.15 * int(lengths[b])
        assert len(steps) == 0 or steps[-1] - steps[0] == len(steps) - 1
        assert len(steps) == 0 or steps[-1] < int(lengths[b])
        assert len(features) in (0, 2, 4)
        np.testing.assert_array_equal(features[features < 10] + 10, features[features >= 10])
        kept = np.ones_like(gone)
        kept[steps] = False
        kept[:, features] = False
        np.testing.assert_array_equal(kept, ~gone)
    assert 0.3 < (found == 0).any(axis=(0, 2)).mean() < 1


@pytest.mark.usefixtures("eager")
def test_blanks_and_dropout_are_for_training_with_a_key():
    batch = speech(**FEW).batches(0)[0]
    for options in ({"spec_augment": False}, {"dropout_rate": 0.0}):
        task = speech(**FEW, **options)
        params = task.init(jax.random.key(0))
        loss = jax.jit(task.loss)
        costs = {float(loss(params, None, batch, key)[0]) for key in (None, None)}
        costs |= {float(loss(params, None, batch, jax.random.key(k))[0]) for k in (1, 2)}
        assert len(costs) == 3
    plain = speech(**FEW, spec_augment=False, dropout_rate=0.0)
    loss = jax.jit(plain.loss)
    keyed = [float(loss(params, None, batch, key)[0]) for key in (None, jax.random.key(1))]
    assert keyed[0] == pytest.approx(keyed[1], rel=1e-6)


def test_a_folder_of_files(tmp_path):
    task = speech(data=flat(tmp_path), held_out="theo", **FEW)
    params = task.init(jax.random.key(0))
    assert task.baselines["most frequent word"] == 0.5
    assert task.evaluate(params)["accuracy"] in [k / 14 for k in range(15)]
    assert task.batches(0)[0].labels.max() <= 1


def test_the_commonest_word_is_that_of_training():
    entries = [small().entries[0]._replace(label=label) for label in "1120002"]
    recordings = small()._replace(entries=tuple(entries))
    train, test = np.array([0, 1, 2]), np.array([0, 3, 4, 5, 6])
    assert most_common(recordings, train, test) == 1 / 5
    assert most_common(recordings, test, train) == 0


def test_the_linear_baseline_of_a_word_that_is_too_rare_to_be_fitted(monkeypatch):
    monkeypatch.setattr("rnnjax.experiments.tasks.spoken._words._FITTED", 2)
    recordings = small()
    labels = [entry.label for entry in recordings.entries]
    train = np.array([labels.index("4"), labels.index("7"), labels.index("4")])
    test = np.array([labels.index("4"), labels.index("7")])
    assert linear_accuracy(recordings, FrontEnd(RATE, 10, 3), train, test) == 0.5


@pytest.mark.parametrize(("mode", "name"), [("word", "classify"), ("ctc", "transcribe")])
def test_no_files(mode, name):
    task = speech(**FEW, mode=mode)
    with pytest.raises(ValueError, match="no files to read: expected the path of one WAV file"):
        task.infer[name](task.init(jax.random.key(0)), [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "cct"}, "did you mean 'ctc'"),
        ({"pooling": "men"}, "did you mean 'mean'"),
        ({"dropout_rate": 1.5}, "dropout_rate is a probability"),
        ({"words": 0}, "words must be at least 1"),
        ({"rate": 5, "mode": "ctc"}, "rate must be at least 100, one sample for each frame"),
        ({"rate": 99}, "rate must be at least 100"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"held_out": "speaker9"}, "no speaker 'speaker9'.*did you mean 'speaker"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        speech(**FEW, **options)
