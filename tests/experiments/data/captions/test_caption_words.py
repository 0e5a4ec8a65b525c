"""Captions as words and ids: the vocabulary, and sentences by their number."""

import pytest
from data_files import words_of

from rnnjax.experiments.data.captions import (
    BEGIN,
    END,
    UNKNOWN,
    Sentences,
    caption_vocabulary,
)


def test_the_vocabulary_begins_with_the_marks():
    _, vocabulary = words_of()
    assert vocabulary.entries[:4] == ("<unk>", "<s>", "</s>", "a")
    assert (vocabulary.entries[BEGIN], vocabulary.entries[END]) == ("<s>", "</s>")
    assert vocabulary.encode("a dog").tolist() == [3, UNKNOWN]
    few = caption_vocabulary(["a b b", "b"], max_words=4)
    assert few.entries == ("<unk>", "<s>", "</s>", "b")
    with pytest.raises(ValueError, match="max_words must be above 3"):
        caption_vocabulary(["a"], max_words=3)
    with pytest.raises(TypeError, match=r"max_words must be a positive int, got 5\.0"):
        caption_vocabulary(["a"], max_words=5.0)


def test_sentences_are_had_by_their_number():
    vocabulary = caption_vocabulary(["a b", "c", "a"])
    sentences = Sentences([("a b",), ("c", "a d")], vocabulary)
    ids = {word: vocabulary.entries.index(word) for word in "abc"}
    assert sentences[0].tolist() == [ids["a"], ids["b"], END]
    assert sentences[2].tolist() == [ids["a"], UNKNOWN, END]
    assert sentences.pictures.tolist() == [0, 1, 1]
    assert sentences.lengths.tolist() == [3, 2, 3]
    assert len(sentences) == 3
