"""Running text from files: cut, encoded, and what is said about bad ones."""

import numpy as np
import pytest

from rnnjax.experiments.data import _text_files, read_blocks
from rnnjax.experiments.data.text import _corpus, encode_text, learn_vocabulary, open_corpus

TEXT = "the sea, the sea.\nÉté, and\r\nagain été.\n\n" * 7


@pytest.fixture(params=[1 << 18, 5])
def text_file(request, monkeypatch, tmp_path):
    """The text, read whole, and in blocks that cut through letters."""
    monkeypatch.setattr(_text_files, "_BLOCK", request.param)
    monkeypatch.setattr(_corpus, "_LONGEST_LINE", request.param)
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode("utf-8"))
    return path


def decoded(corpus):
    return [corpus.vocabulary.decode(part) for part in (corpus.train, corpus.held_out)]


def test_characters_of_a_file(text_file):
    whole = TEXT.replace("\r\n", "\n")
    corpus = open_corpus(text_file, held_out=0.25)
    at = int(len(whole) * 0.75)
    assert decoded(corpus) == [whole[:at], whole[at:]]
    assert corpus.characters == len(whole) - at
    assert isinstance(corpus.train, np.memmap)


def test_words_of_a_file(text_file):
    corpus = open_corpus(text_file, units="words", held_out=0.5, lowercase=True)
    line = "the sea , the sea . <eos> été , and <eos> again été . <eos> <eos>"
    train, held_out = decoded(corpus)
    assert f"{train} {held_out}" == " ".join([line] * 7)
    assert abs(len(train) - len(held_out)) < 10
    words = open_corpus(text_file, units="spaces", held_out=0.5)
    assert {"sea,", "Été,", "été.", "<eos>"} <= set(words.vocabulary.entries)
    few = open_corpus(text_file, units="spaces", held_out=0.5, max_words=3)
    assert few.vocabulary.entries == ("<unk>", "<eos>", "the")
    assert decoded(few)[0].startswith("the <unk> the <unk> <eos>")


def test_vocabulary_comes_from_the_training_text_alone(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("ab" * 45 + "cadzb" * 2)
    corpus = open_corpus(path)
    assert corpus.vocabulary.entries == ("<unk>", "a", "b")
    assert corpus.held_out.tolist() == [0, 1, 0, 0, 2] * 2


def test_options_without_effect(tmp_path):
    write_folder(tmp_path)
    with pytest.raises(ValueError, match=r"held_out=0\.2 has no effect on a folder"):
        open_corpus(tmp_path, held_out=0.2)
    with pytest.raises(ValueError, match="part='test' has no effect on a single file"):
        open_corpus(tmp_path / "ptb.train.txt", part="test")


def write_folder(folder):
    for part, text in (("train", " a b c \n a \n"), ("valid", " b \n"), ("test", " c d \n")):
        folder.joinpath(f"ptb.{part}.txt").write_text(text)
    return folder


def test_folder_of_parts(tmp_path):
    corpus = open_corpus(write_folder(tmp_path), units="spaces")
    assert decoded(corpus) == ["a b c <eos> a <eos>", "b <eos>"]
    assert decoded(open_corpus(tmp_path, units="spaces", part="test"))[1] == "c <unk> <eos>"
    tmp_path.joinpath("ptb.test.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"'test' between dots.*got 0"):
        open_corpus(tmp_path, part="test")
    tmp_path.joinpath("other.train.txt").write_text("a")
    with pytest.raises(FileNotFoundError, match=r"'train' .*got 2: other\.train.* Move the others"):
        open_corpus(tmp_path)
    with pytest.raises(ValueError, match="did you mean 'test'"):
        open_corpus(tmp_path, part="tests")


def test_a_folder_may_hold_words_and_characters(tmp_path):
    for part, text in (("train", "t h e _ s e a\n" * 9), ("valid", "s e a\n")):
        write_folder(tmp_path).joinpath(f"ptb.char.{part}.txt").write_text(text)
    assert open_corpus(tmp_path).characters == len("s e a\n")
    assert decoded(open_corpus(tmp_path))[1] == "s e a\n"
    for units in ("words", "spaces"):
        assert decoded(open_corpus(tmp_path, units=units))[1] == "b <eos>"
    tmp_path.joinpath("mine.train.txt").write_text("a")
    with pytest.raises(FileNotFoundError, match=r"got 2: mine\.train\.txt, ptb\.train\.txt\. Move"):
        open_corpus(tmp_path, units="words")


def test_a_long_text_is_encoded_a_little_at_a_time():
    """Characters as tokens take a hundred times the memory that they take as text."""
    vocabulary = learn_vocabulary(["ab\n"], "characters")
    tokenizer, sizes = vocabulary._tokenizer, []

    class Watched:
        def encode_batch(self, texts, **options):
            sizes.append(sum(map(len, texts)))
            return tokenizer.encode_batch(texts, **options)

    vocabulary._tokenizer = Watched()
    text = "abba" * 50_000
    ids = encode_text(text, vocabulary)
    assert vocabulary.decode(ids) == text
    assert sum(sizes) == len(text)
    assert max(sizes) <= 1 << 16
    sizes.clear()
    found = list(vocabulary.encode_all(["ab" * n for n in (1, 30_000, 0, 5_000, 40_000)]))
    assert [len(ids) for ids in found] == [2, 60_000, 0, 10_000, 80_000]
    assert sizes == [60_002, 10_000, 80_000]  # a longer text goes alone


@pytest.mark.parametrize(
    ("units", "size", "error", "message"),
    [
        ("words", 2, ValueError, "above 2, with <unk> and <eos> among them, got 2"),
        ("spaces", 1, ValueError, "max_words must be above 2"),
        ("characters", 1, ValueError, "max_words must be above 1, with <unk> among"),
        ("words", 0, ValueError, "max_words must be at least 1, got 0"),
        ("words", -1, ValueError, "max_words must be at least 1, got -1"),
        ("words", 5.0, TypeError, r"max_words must be an int, got 5\.0"),
    ],
)
def test_vocabularies_with_no_room(text_file, units, size, error, message):
    with pytest.raises(error, match=message):
        open_corpus(text_file, units=units, max_words=size)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, "is empty: expected a text"),
        (b"one\ntwo\ncaf\xe9\n", {}, "line 3: not utf-8: byte 0xe9.*latin-1"),
        ("é".encode("utf-16"), {}, "line 1: not utf-8: byte 0xff.*encoding='utf-16'"),
        (b"\xfe\xff\0a", {}, "line 1: not utf-8: byte 0xfe.*encoding='utf-16'"),
        ("é".encode("utf-32"), {"encoding": "ascii"}, "not ascii: byte 0xff.*encoding='utf-32'"),
        (
            b"\xff\xfea\0b",
            {"encoding": "UTF-16"},
            "line 1: not UTF-16: byte 0x62. Give the file's encoding$",
        ),
        (b"one\n\xff\xfe", {}, "line 2: not utf-8: byte 0xff.*encoding='latin-1'"),
        (b"one\ntwo\ncaf\xc3", {}, "line 3: not utf-8"),  # cut off in the middle of a letter
        (b"a", {}, "1 characters: too few to hold out 0.1 of them"),
        (b"ab" * 50, {"held_out": 1.0}, r"share of the text, in \(0, 1\), got 1.0"),
        (b"ab" * 50, {"units": "word"}, "did you mean 'words'"),
        (b"ab" * 50, {"encoding": "utf-88"}, "encoding='utf-88' is not known"),
        (b"ab" * 50, {"units": "words"}, "too few"),  # one endless word
    ],
)
def test_bad_files(tmp_path, content, options, message):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_corpus(path, **options)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_corpus(tmp_path / "nowhere.txt")


def test_blocks_join_to_the_text(text_file):
    assert "".join(read_blocks(text_file)) == TEXT.replace("\r\n", "\n")


def test_a_prompt_is_encoded_as_the_corpus_is(text_file):
    corpus = open_corpus(text_file, units="words")
    ids = encode_text("the sea.\nagain", corpus.vocabulary)
    assert corpus.vocabulary.decode(ids) == "the sea . <eos> again"


def test_a_byte_order_mark_is_no_letter(text_file):
    expected = open_corpus(text_file, units="spaces", held_out=0.25)
    text_file.write_bytes(b"\xef\xbb\xbf" + text_file.read_bytes())
    for encoding in ("utf-8", "UTF8", "utf-8-sig"):
        corpus = open_corpus(text_file, units="spaces", held_out=0.25, encoding=encoding)
        assert corpus.vocabulary.entries == expected.vocabulary.entries
        assert decoded(corpus) == decoded(expected)
    assert "\ufeff" not in open_corpus(text_file).vocabulary.entries
    text_file.write_bytes(b"\xef\xbb\xbfab\ncaf\xe9")
    with pytest.raises(ValueError, match=r"line 2: not utf-8: byte 0xe9"):
        list(read_blocks(text_file))
    text_file.write_bytes(b"\xef\xbb\xbf")
    with pytest.raises(ValueError, match="is empty"):
        list(read_blocks(text_file))
