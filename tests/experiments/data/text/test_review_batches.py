"""Reviews as batches: folds, the vocabulary, spelling, and what a net may know."""

import numpy as np
import pytest
from data_files import write_reviews

from rnnjax.experiments.data.text import (
    character_ngrams,
    dev_split,
    fold_split,
    learn_vocabulary,
    open_reviews,
    prepare_reviews,
)
from rnnjax.experiments.data.text._words import MAX_NGRAMS

LABELS = np.array([0] * 30 + [1] * 20)


def made(folder, **options):
    usual = {"fold": 0, "folds": 5, "dev": False, "units": "words", "lowercase": True}
    usual |= {"min_count": 1, "max_words": None, "max_length": 400, "buckets": 500}
    return prepare_reviews(open_reviews(folder), **{**usual, **options})


def test_folds_are_a_stratified_partition():
    folds = [fold_split(LABELS, k, 10) for k in range(10)]
    assert sorted(np.concatenate([split.test for split in folds]).tolist()) == list(range(50))
    for split in folds:
        assert sorted([*split.train, *split.test]) == list(range(50))
        assert np.bincount(LABELS[split.test]).tolist() == [3, 2]
    assert fold_split(LABELS, 3, 10).test.tolist() == folds[3].test.tolist()  # always the same
    assert folds[0].test.tolist() != [0, 1, 2, 30, 31]  # shuffled


@pytest.mark.parametrize("counts", [(8, 1), (2, 2, 2, 2, 2, 2)])
def test_too_few_texts_for_a_dev_part_are_refused(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    message = (
        rf"^dev=True holds out a fifth of the {sum(counts)} training texts, .* needs at least "
        rf"{5 * len(counts) - 4} texts and two of each class, and one class has {min(counts)}\. Add"
    )
    with pytest.raises(ValueError, match=message):
        dev_split(labels, np.arange(len(labels)))
    enough = np.repeat(np.arange(6), [6, 4, 4, 4, 4, 4])
    assert len(np.unique(enough[dev_split(enough, np.arange(26)).test])) == 6


def test_dev_part_has_no_text_of_the_test_part():
    split = fold_split(LABELS, 0, 5)
    dev = dev_split(LABELS, split.train)
    assert sorted([*dev.train, *dev.test]) == split.train.tolist()
    assert np.bincount(LABELS[dev.test]).tolist() == [5, 3]
    assert not set(dev.test) & set(split.test)


def test_folds_out_of_range():
    with pytest.raises(ValueError, match="fold must be one of 0 … 4, got 5"):
        fold_split(LABELS, 5, 5)
    with pytest.raises(TypeError, match=r"fold must be an int in 0 … 4, got '1' \(str\)"):
        fold_split(LABELS, "1", 5)
    with pytest.raises(TypeError, match=r"fold must be an int in 0 … 4, got 1\.0 \(float\)"):
        fold_split(LABELS, 1.0, 5)
    with pytest.raises(ValueError, match="folds must be at least 2"):
        fold_split(LABELS, 0, 1)
    with pytest.raises(ValueError, match="21 folds need 21 texts of each class, and one class has"):
        fold_split(LABELS, 0, 21)


def test_vocabulary_comes_from_the_training_part_alone(tmp_path):
    data = made(write_reviews(tmp_path))
    own = {f"{'neg' if row < 30 else 'pos'}{row % 30}" for row in data.split.train}
    assert set(data.reader.vocabulary.entries) == {"<unk>", "a", "film", ".", "dull", "fun"} | own
    assert data.train_words == len(data.reader.vocabulary) == 6 + 48
    for row in data.split.test:  # each has one word that no training text has
        words = data.batch(np.array([row])).words
        ids = words.ids[words.places[: data.store.lengths[row], 0]]
        assert (ids == 0).sum() == 1
        assert ids[2] == 0


def test_a_word_of_held_out_texts_alone_is_known_by_its_spelling(tmp_path):
    data = made(write_reviews(tmp_path))
    row = int(data.split.test[0])
    words = data.batch(np.array([row])).words
    name = f"{'neg' if row < 30 else 'pos'}{row % 30}"
    np.testing.assert_array_equal(
        words.spelling[words.places[2, 0]], character_ngrams([name], 500)[0]
    )
    assert made(tmp_path, buckets=0).batch(np.array([row])).words.spelling.shape[1] == 0


def test_rare_words_and_long_texts_are_cut(tmp_path):
    write_reviews(tmp_path)
    assert set(made(tmp_path, min_count=2).reader.vocabulary.entries) == {
        *("<unk>", "a", "film", ".", "dull", "fun")
    }
    few = made(tmp_path, max_words=4, max_length=4)
    assert few.reader.vocabulary.entries == ("<unk>", "film", ".", "a")
    batch = few.batch(few.split.train[:7])
    assert batch.lengths.tolist() == [4] * 7
    seen = batch.words.ids[batch.words.places]
    assert seen[:4].T.tolist() == [[3, 0, 0, 1]] * 7  # a, dull or fun, its own word, film


def test_batches_hold_the_texts(tmp_path):
    data = made(write_reviews(tmp_path), lowercase=False)
    batch = data.batches(0, 10)[3]
    rows = data.split.train
    texts = {tuple(data.store[int(row)].tolist()): data.labels[row] for row in rows}
    for b in range(10):
        ids = batch.words.ids[batch.words.places[:, b]]
        assert texts[tuple(ids[: batch.lengths[b]].tolist())] == batch.labels[b]
        assert (batch.words.places[batch.lengths[b] :, b] == 0).all()
    assert batch.words.ids[0] == 0
    assert (batch.words.spelling[0] == 0).all()
    assert "A" in data.reader.vocabulary.entries


def test_batches_belong_to_seed_and_step(tmp_path):
    data, again = made(write_reviews(tmp_path)), made(tmp_path)
    assert data.steps_per_epoch(10) == 4
    for step in (5, 0, 1000):
        for one, other in zip(
            data.batches(1, 10)[step].words, again.batches(1, 10)[step].words, strict=True
        ):
            np.testing.assert_array_equal(one, other)
    labels = [data.batches(seed, 10)[0].labels.tolist() for seed in range(4)]
    assert len({tuple(each) for each in labels}) > 1
    epoch = [data.batches(1, 10)[step] for step in range(4)]
    own = [b.words.ids[b.words.places[2, k]] for b in epoch for k in range(10)]
    assert len(set(own)) == 40  # no text twice in an epoch
    assert {b.words.places.shape[0] for b in epoch} <= {*range(5, 13)}


def test_every_held_out_text_is_judged_once(tmp_path):
    data = made(write_reviews(tmp_path))
    rows = np.concatenate(data.test_batches())
    assert sorted(rows.tolist()) == data.split.test.tolist()
    dev = made(tmp_path, dev=True)
    judged = np.concatenate(dev.test_batches())
    assert len(judged) == 10
    assert not set(judged) & set(data.split.test)


def test_any_text_is_read_as_the_same_text_on_disk(tmp_path):
    data = made(write_reviews(tmp_path))
    rows = np.concatenate([data.split.train[:2], data.split.test[:2]])
    source = open_reviews(tmp_path).train
    words, lengths = data.reader.of_texts([source.texts[int(row)] for row in rows])
    batch = data.batch(rows)
    np.testing.assert_array_equal(lengths, batch.lengths)
    for name in ("ids", "spelling"):
        found, expected = getattr(words, name), getattr(batch.words, name)
        np.testing.assert_array_equal(found[words.places], expected[batch.words.places])
    assert data.reader.of_texts([""])[1].tolist() == [0]


def test_spelling_of_words():
    one, other, short, long = character_ngrams(["dull", "dully", "a", "x" * 50], 10**6)
    assert len(set(one) - {0}) == 4 + 3 + 2  # <du dul ull ll> <dul dull ull> <dull dull>
    assert len(set(one) & set(other) - {0}) == 6
    assert np.count_nonzero(short) == 1  # <a>
    assert np.count_nonzero(long) == MAX_NGRAMS
    assert character_ngrams(["", "of"], 7).max() <= 7
    assert character_ngrams([""], 7).max() == 0


def test_vocabulary_counts_from_the_commonest():
    vocabulary = learn_vocabulary(["b a b", "it's b, a"], "words", specials=["<eos>"])
    assert vocabulary.entries[:4] == ("<unk>", "<eos>", "b", "a")
    assert set(vocabulary.entries[4:]) == {"it", "'", "s", ","}
    assert vocabulary.encode("b zz a").tolist() == [2, 0, 3]
    assert vocabulary.split("b zz'a") == ["b", "zz", "'", "a"]
    assert (vocabulary.number("a"), vocabulary.number("zz")) == (3, 0)
    assert vocabulary.decode([2, 3]) == "b a"
    longer = vocabulary.extended(["zz", "a", "zz", "y"])
    assert longer.entries == (*vocabulary.entries, "zz", "y")
    assert vocabulary.first(3).encode("b a").tolist() == [2, 0]


def test_units_of_a_vocabulary():
    text = "It's no\ngood  é"
    assert learn_vocabulary([text], "spaces").split(text) == ["It's", "no", "good", "é"]
    assert learn_vocabulary([text], "characters").split(text) == list(text)
    assert learn_vocabulary([text], "words", lowercase=True).split("IT'S É") == [
        *("it", "'", "s", "é")
    ]
    characters = learn_vocabulary([text], "characters")
    assert characters.decode(characters.encode(text)) == text
    with pytest.raises(ValueError, match="did you mean 'words'"):
        learn_vocabulary([text], "word")
    with pytest.raises(ValueError, match="nothing in the texts"):
        learn_vocabulary([" ", ""], "words")
