"""Reviews in every layout that there is, and what is said about bad ones."""

import gzip
import json

import numpy as np
import pytest

from rnnjax.experiments.data import open_lines
from rnnjax.experiments.data.text import download_reviews, open_reviews
from rnnjax.experiments.data.text._reviews import _Columns, _from_datasets


def contents(reviews):
    return [(reviews.texts[i], reviews.classes[k]) for i, k in enumerate(reviews.labels)]


ROWS = [("good, cheap", "pos"), ('a "bad" film', "neg"), ("fun", "pos"), ("naïve", "neg")]


def write_pair(folder, encoding="latin-1"):
    folder.joinpath("rt.neg").write_bytes("dull .\n\nnaïve .\n".encode(encoding))
    folder.joinpath("rt.pos").write_bytes("fun .\na delight .".encode(encoding))
    return folder


def test_pair_of_files_is_latin_1_and_a_text_a_line(tmp_path):
    source = open_reviews(write_pair(tmp_path))
    assert source.test is None
    assert source.train.classes == ("neg", "pos")
    expected = [("dull .", "neg"), ("naïve .", "neg"), ("fun .", "pos"), ("a delight .", "pos")]
    assert contents(source.train) == expected
    assert contents(open_reviews(write_pair(tmp_path, "utf-8"), encoding="utf-8").train) == expected


def test_tables_of_every_kind_hold_the_same(tmp_path):
    quoted = '"good, cheap",pos\n"a ""bad"" film",neg\nfun,pos\nnaïve,neg\n'
    tables = {
        "a.csv": "text,label\n" + quoted,
        "a.tsv": "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS),
        "a.jsonl": "".join(json.dumps({"label": k, "text": t}) + "\n" for t, k in ROWS),
    }
    for name, text in tables.items():
        tmp_path.joinpath(name).write_text(text, encoding="utf-8")
        source = open_reviews(tmp_path / name)
        assert source.test is None
        assert source.train.classes == ("neg", "pos")
        assert contents(source.train) == ROWS


def test_columns_may_have_other_names_and_classes_be_numbers(tmp_path):
    tmp_path.joinpath("r.csv").write_text("stars,body\n10,good\n2,bad\n10,fine\n")
    reviews = open_reviews(tmp_path / "r.csv", text="body", label="stars").train
    assert reviews.classes == ("2", "10")  # in the order of numbers, not of letters
    assert contents(reviews) == [("good", "10"), ("bad", "2"), ("fine", "10")]


def test_folder_with_a_training_and_a_test_table(tmp_path):
    tmp_path.joinpath("train.csv").write_text("text,label\ngood,1\nbad,0\n")
    tmp_path.joinpath("test.csv").write_text("text,label\nfine,1\nawful,0\n")
    source = open_reviews(tmp_path)
    assert contents(source.train) == [("good", "1"), ("bad", "0")]
    assert contents(source.test) == [("fine", "1"), ("awful", "0")]
    tmp_path.joinpath("test.csv").write_text("text,label\nfine,2\nawful,0\n")
    with pytest.raises(ValueError, match=r"classes \('0', '1'\) and the test part \('0', '2'\)"):
        open_reviews(tmp_path)


def test_training_and_test_tables_may_differ_in_kind(tmp_path):
    tmp_path.joinpath("train.csv").write_text("text,label\ngood,1\nbad,0\n")
    for name, content in (
        ("test.tsv", "text\tlabel\nfine\t1\nawful\t0\n"),
        ("test.jsonl", '{"text": "fine", "label": 1}\n{"text": "awful", "label": 0}\n'),
    ):
        tmp_path.joinpath(name).write_text(content)
        assert contents(open_reviews(tmp_path).test) == [("fine", "1"), ("awful", "0")]
        tmp_path.joinpath(name).unlink()
    for part in ("test", "train"):
        tmp_path.joinpath(f"{part}.csv").write_text("text,label\ngood,1\nbad,0\n")
        tmp_path.joinpath(f"{part}.tsv").write_text("")
        with pytest.raises(
            ValueError, match=rf"of the {part} part, got {part}\.csv and {part}\.tsv"
        ):
            open_reviews(tmp_path)


def write_folders(root, **texts):
    for name, each in texts.items():
        folder = root / name
        folder.mkdir(parents=True)
        for number, text in enumerate(each):
            folder.joinpath(f"{number}.txt").write_text(text, encoding="utf-8")


def test_folders_of_text_files_one_for_each_class(tmp_path):
    write_folders(tmp_path / "plain", pos=["good", "fun"], neg=["bad"], unsup=["?"])
    source = open_reviews(tmp_path / "plain")
    assert contents(source.train) == [("bad", "neg"), ("good", "pos"), ("fun", "pos")]
    write_folders(tmp_path / "split" / "train", pos=["good"], neg=["bad"])
    write_folders(tmp_path / "split" / "test", pos=["fine"], neg=["sad"])
    source = open_reviews(tmp_path / "split")
    assert contents(source.train) == [("bad", "neg"), ("good", "pos")]
    assert contents(source.test) == [("sad", "neg"), ("fine", "pos")]


def test_saved_dataset(tmp_path):
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    )
    parts = {
        name: datasets.Dataset.from_dict({"text": texts, "label": [1, 0]}, features=features)
        for name, texts in (("train", ["good", "bad"]), ("test", ["fine", "sad"]))
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "both"))
    source = open_reviews(tmp_path / "both")
    assert contents(source.train) == [("good", "pos"), ("bad", "neg")]
    assert contents(source.test) == [("fine", "pos"), ("sad", "neg")]
    with pytest.raises(ValueError, match="no column 'stars' in 'text', 'label'"):
        open_reviews(tmp_path / "both", label="stars")
    plain = datasets.Dataset.from_dict({"text": ["so", "la"], "label": [5, 1]})
    plain.save_to_disk(str(tmp_path / "plain"))
    source = open_reviews(tmp_path / "plain")
    assert source.test is None
    assert contents(source.train) == [("so", "5"), ("la", "1")]


@pytest.mark.parametrize(
    ("texts", "labels", "names", "message"),
    [
        (
            ["a", "b", "c"],
            ["x", None, "y"],
            None,
            "part 'train', row 1: expected a label, got noth",
        ),
        (["a", "b", "c"], [0, 1, None], ["n", "p"], "row 2: expected a label, got nothing"),
        (["a", None], [0, 1], None, "part 'train', row 1: expected a text, got nothing"),
        (["a", " \n"], [0, 1], None, "row 1: expected a text, got nothing"),
        (["a", "b"], [0, -1], ["n", "p"], "some rows have no label"),
        (
            ["a", "b"],
            [3, 3],
            None,
            "'train', column 'label': expected 2 to 100 classes, got 1: '3'",
        ),
        (["a", "b"], [1, 1], ["n", "p"], "'label': expected 2 to 100 classes, got 1: 'p'"),
        (["a"] * 300, list(range(300)), None, "got 300: '0', '1'"),
        (["a"] * 2, [0, 1], list(map(str, range(101))), "got 101: '0', '1'"),
        ([], [], None, "saved has a part with no rows"),
    ],
)
def test_bad_saved_datasets(tmp_path, texts, labels, names, message):
    import datasets

    label = datasets.ClassLabel(names=names) if names else None
    label = label or datasets.Value("string" if "x" in labels else "int64")
    features = datasets.Features({"text": datasets.Value("string"), "label": label})
    saved = datasets.Dataset.from_dict({"text": texts, "label": labels}, features=features)
    datasets.DatasetDict({"train": saved}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match=message):
        open_reviews(tmp_path / "saved")


def test_a_dataset_without_rows():
    import datasets

    with pytest.raises(ValueError, match="x, part 'train' has no rows"):
        _from_datasets(
            datasets.Dataset.from_dict({"text": [], "label": []}), _Columns("text", "label"), "x"
        )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", r"a\.csv is empty"),
        ("a.csv", b"text,label\n", "no rows after its header"),
        ("a.csv", b"text,lable\ngood,1\n", "'label'.*did you mean 'lable'"),
        ("a.csv", b"text,label\ngood,1\nbad\n", "line 3: expected 2 fields"),
        ("a.csv", b"text,label\ngood,1\n\nbad,\n", "line 4: expected a label, got nothing"),
        ("a.csv", b"text,label\n ,1\nbad,0\n", "line 2: expected a text, got nothing"),
        ("a.csv", b"text,label\ngood,1\nbad\xe9,0\n", "line 3: not utf-8: byte 0xe9"),
        ("a.csv", b"text,label\ngood,1\nbad,1\n", "expected 2 to 100 classes.*got 1: '1'"),
        ("a.csv", b'text,label\n"good,1\nbad,0\n', "line 2"),
        ("a.jsonl", b'{"text": "good", "label": 1}\n{"text": "bad", "la', "line 2.*JSON"),
        ("a.jsonl", b'{"text": "good", "label": null}\n', "line 1: expected a label"),
        ("a.txt", b"good\n", r"a\.txt.*\.csv"),
        ("a.jsonl", b'{"text": "\\ud800", "label": 1}\n', "line 1: the text has half a surrogate"),
    ],
)
def test_bad_tables(tmp_path, name, content, message):
    tmp_path.joinpath(name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_reviews(tmp_path / name)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["pos", "POS", "neg", "pos"], r"'POS' \(1 times\) and 'pos' \(2 times\). Write each"),
        (
            ["1", "1.0", "0", "0.0"],
            r"'0' \(1 times\) and '0.0' \(1 times\); '1' \(1 times\) and '1.0'",
        ),
        (["caf\u00e9", "cafe\u0301", "x", "x"], "classes that differ only in spelling"),
    ],
)
def test_classes_that_are_spellings_of_one(tmp_path, labels, message):
    table = tmp_path / "r.csv"
    table.write_text("text,label\n" + "".join(f"good,{label}\n" for label in labels))
    with pytest.raises(ValueError, match=message) as caught:
        open_reviews(table)
    assert f"{table}, column 'label': " in str(caught.value)
    rows = "".join(json.dumps({"text": "good", "label": k}) + "\n" for k in labels)
    jsonl = tmp_path / "r.jsonl"
    jsonl.write_text(rows)
    with pytest.raises(ValueError, match=message):
        open_reviews(jsonl)


def test_spaces_around_labels_are_no_part_of_them(tmp_path):
    tmp_path.joinpath("r.csv").write_text("text,label\na, pos\nb,pos \nc,neg\n")
    reviews = open_reviews(tmp_path / "r.csv").train
    assert (reviews.classes, reviews.labels.tolist()) == (("neg", "pos"), [1, 1, 0])


def test_a_table_without_header_and_a_compressed_one(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text('"2","good, cheap"\n"1",bad\n')
    with pytest.raises(ValueError, match="no column 'text' in '2', 'good, cheap'; is there no h"):
        open_reviews(path)
    reviews = open_reviews(path, text="1", label="0", header=False).train
    assert contents(reviews) == [("good, cheap", "2"), ("bad", "1")]
    (tmp_path / "both").mkdir()
    for part in ("train", "test"):
        table = gzip.compress(b"text,label\ngood,1\nbad,0\n")
        tmp_path.joinpath("both", f"{part}.csv.gz").write_bytes(table)
    source = open_reviews(tmp_path / "both")
    assert contents(source.train) == contents(source.test) == [("good", "1"), ("bad", "0")]


def test_options_without_effect(tmp_path):
    import datasets

    write_pair(tmp_path)
    for option in ({"text": "body"}, {"label": "stars"}, {"header": False}):
        with pytest.raises(
            ValueError, match=f"{next(iter(option))}=.* has no effect without a table"
        ):
            open_reviews(tmp_path, **option)
    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}).save_to_disk(
        str(tmp_path / "saved")
    )
    for option in ({"encoding": "utf-8"}, {"header": False}):
        with pytest.raises(
            ValueError, match=f"{next(iter(option))}=.* has no effect on a saved data"
        ):
            open_reviews(tmp_path / "saved", **option)


def test_bad_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        open_reviews(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"expected one of(.|\n)*rt-polarity"):
        open_reviews(tmp_path)
    write_folders(tmp_path / "gap", pos=["good"], neg=[])
    with pytest.raises(ValueError, match=r"neg has no \.txt files"):
        open_reviews(tmp_path / "gap")
    write_folders(tmp_path / "bad", pos=["good", " \n"], neg=["bad"])
    tmp_path.joinpath("bad", "neg", "0.txt").write_bytes(b"caf\xe9")
    train = open_reviews(tmp_path / "bad").train
    with pytest.raises(ValueError, match=r"neg/0\.txt: not utf-8: byte 0xe9 at position 4"):
        train.texts[0]
    assert open_reviews(tmp_path / "bad", encoding="latin-1").train.texts[0] == "café"
    with pytest.raises(ValueError, match=r"pos/1\.txt is empty"):
        train.texts[2]
    write_pair(tmp_path).joinpath("rt.pos").write_bytes(b"\n")
    with pytest.raises(ValueError, match=r"rt\.pos is empty: expected a text on each line"):
        open_reviews(tmp_path)


def test_lines_are_read_by_their_number(tmp_path):
    path = tmp_path / "lines.txt"
    texts = [f"line {k} é" for k in range(50)]
    path.write_bytes("\r\n\n".join(texts).encode("utf-8"))
    lines = open_lines(path)
    assert [lines[k] for k in np.random.default_rng(0).permutation(50)] == [
        texts[k] for k in np.random.default_rng(0).permutation(50)
    ]
    with pytest.raises(ValueError, match=r"lines\.txt, line 1: not ascii: byte 0xc3.*latin-1"):
        open_lines(path, "ascii")
    with pytest.raises(ValueError, match="encoding='latin-11' is not known"):
        open_lines(path, "latin-11")


def test_byte_order_marks_are_no_text(tmp_path):
    mark = b"\xef\xbb\xbf"
    path = tmp_path / "lines.txt"
    path.write_bytes(mark + "\n\ufeff\nété\n".encode())
    assert [*open_lines(path)] == ["\ufeff", "été"]  # it is one where the file begins
    path.write_bytes(mark + "été\n".encode())
    assert [*open_lines(path)] == ["été"]
    path.write_bytes(mark + b"caf\xe9\n")
    with pytest.raises(ValueError, match="line 1: not utf-8: byte 0xe9 at position 4"):
        open_lines(path)
    write_folders(tmp_path / "folders", pos=["\ufeffgood"], neg=["\ufeffbad", "\ufeff \n"])
    texts = open_reviews(tmp_path / "folders").train.texts
    assert (texts[0], texts[2]) == ("bad", "good")
    with pytest.raises(ValueError, match=r"neg/1\.txt is empty"):
        texts[1]
    for file in write_pair(tmp_path, "utf-8").glob("rt.*"):
        file.write_bytes(mark + file.read_bytes())
    expected = [("dull .", "neg"), ("naïve .", "neg"), ("fun .", "pos"), ("a delight .", "pos")]
    assert contents(open_reviews(tmp_path).train) == expected


def test_utf_16_is_known_by_its_mark(tmp_path):
    write_pair(tmp_path, "utf-16")
    for encoding in (None, "utf-8", "utf-16"):
        with pytest.raises(ValueError, match=r"rt\.neg is utf-16, .* by lines: save it as utf-8"):
            open_reviews(tmp_path, encoding=encoding)
    write_folders(tmp_path / "folders", pos=["good"], neg=[""])
    path = tmp_path / "folders" / "neg" / "0.txt"
    path.write_bytes("bad".encode("utf-16"))
    with pytest.raises(ValueError, match=r"not utf-8: byte 0xff at .*encoding='utf-16'"):
        open_reviews(tmp_path / "folders").train.texts[0]
    path.with_name("0.csv").write_bytes("text,label\na,b\nc,d\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"line 1: not utf-8: byte 0xff .*encoding='utf-16'"):
        open_reviews(path.with_name("0.csv"))
    assert open_reviews(path.with_name("0.csv"), encoding="utf-16").train.texts[0] == "a"


def test_unknown_names_on_the_hub_suggest_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'imdb'"):
        download_reviews("imbd")


def test_without_a_network_it_says_how_data_are_given(monkeypatch):
    def refuse(name):
        raise ConnectionError(f"couldn't reach {name!r}")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(ConnectionError, match=r"imdb cannot be downloaded: couldn.t .* by data"):
        download_reviews("imdb")
