"""Random access to rows: every kind of file, and what is said about a bad one."""

import csv
import json
import pickle
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rnnjax.experiments.data import _tables, open_table, read_rows

CELLS = st.text(st.sampled_from('ab,;"\n\r\t é'), max_size=6)


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
def test_reads_what_the_csv_module_wrote(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("p,q", "r"), *rows])
    table = open_table(path)
    assert [tuple(table[i].values()) for i in range(len(table))] == rows
    with open(path, newline="", encoding="utf-8") as file:
        assert [list(row.values()) for _, row in read_rows(path)] == list(csv.reader(file))[1:]


def test_rows_by_number_across_quotes_blank_lines_and_a_mark(tmp_path):
    content = '\ufeffa,b\r\n1,"x\ny"\r\n\r\n  \r\n2,z\r\n3,"say ""so"", ok"\r\n'
    table = open_table(written(tmp_path, "t.CSV", content))
    assert len(table) == 3
    assert table.columns == ("a", "b")
    assert table[-1] == {"a": "3", "b": 'say "so", ok'}
    assert table[1] == {"a": "2", "b": "z"}
    assert table[0] == {"a": "1", "b": "x\ny"}
    assert table.where(1) == f"{table.path}, line 6"
    assert pickle.loads(pickle.dumps(table))[1] == table[1]
    with pytest.raises(IndexError):
        table[3]


def test_tsv_takes_quotes_as_letters(tmp_path):
    path = written(tmp_path, "t.tsv", 'text\tlabel\n"quite, so\tpos\n5" wide\tneg\n')
    assert open_table(path)[0] == {"text": '"quite, so', "label": "pos"}
    assert open_table(path, ["label"])[1] == {"label": "neg"}


def test_jsonl_keeps_json_values(tmp_path):
    rows = [{"text": "a\nb", "stars": 5}, {"text": "é", "stars": 1.5, "more": None}]
    path = written(tmp_path, "t.jsonl", "\n".join(map(json.dumps, rows)))
    table = open_table(path)
    assert [table[0], table[1]] == rows
    assert open_table(path, ["stars"])[1] == {"stars": 1.5}


def test_without_header(tmp_path):
    path = written(tmp_path, "captions.txt", "1.jpg#0\ta dog\n1.jpg#1\ttwo, dogs\n")
    table = open_table(path, ["image", "caption"], kind="tsv", header=False)
    assert len(table) == 2
    assert table[1] == {"image": "1.jpg#1", "caption": "two, dogs"}
    assert open_table(path, kind="tsv", header=False)[0] == {"0": "1.jpg#0", "1": "a dog"}


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
def test_delimiter_is_found(tmp_path, delimiter):
    path = written(tmp_path, "t.csv", f'a{delimiter}b\n"x{delimiter}y"{delimiter}2\n')
    assert open_table(path)[0] == {"a": f"x{delimiter}y", "b": "2"}


def test_other_encodings(tmp_path):
    path = written(tmp_path, "t.csv", "a,b\n1,caf\xe9\n".encode("latin-1"))
    assert open_table(path, encoding="latin-1")[0]["b"] == "café"
    marked = written(tmp_path, "u.csv", "\ufeffa,b\n1,é\n")
    assert open_table(marked, encoding="utf-8-sig")[0] == {"a": "1", "b": "é"}


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("t.csv", "", {}, r"t\.csv is empty"),
        ("t.jsonl", "\n \n", {}, r"t\.jsonl is empty"),
        ("t.csv", "a,b\n", {}, "has no rows after its header"),
        ("t.csv", "a,b\n1,2\n1,2,3\n", {}, r"line 3: expected 2 fields \(a, b\), got 3"),
        ("t.csv", 'a,b\n1,"x\ny"\n1\n', {}, r"line 4: expected 2 fields \(a, b\), got 1"),
        ("t.csv", 'a,b\n1,2\n3,"4\n5,6\n', {}, "line 3: a field begins with .* no closing"),
        ("t.csv", b"a,b\n1,2\n3,\xff\n", {}, "line 3: not utf-8: byte 0xff at position 3.*latin-1"),
        ("t.csv", b"a,\xff\n1,2\n", {}, "line 1: not utf-8"),
        (
            "t.csv",
            "text,label\n1,2\n",
            {"columns": ["texts"]},
            "line 1: no column 'texts' in 'text', 'label'; did you mean 'text'",
        ),
        ("t.csv", "a,b,a\n1,2,3\n", {"columns": ["a"]}, "line 1: 2 columns are named 'a'"),
        ("t.tsv", "a\tb\n1 2\n", {}, r"line 2: expected 2 fields \(a, b\), got 1"),
        (
            "t.tsv",
            "a\tb\n",
            {"columns": ["x", "y", "z"], "header": False},
            r"line 1: expected 3 fields \(x, y, z\), got 2",
        ),
        ("t.jsonl", '{"a": 1}\n{"a": 1\n', {}, "line 2: expected a JSON object: Expecting"),
        ("t.jsonl", '{"a": 1}\n[1]\n', {}, "line 2: expected a JSON object, got list"),
        (
            "t.jsonl",
            '{"text": 1}\n{"txt": 1}\n',
            {"columns": ["text"]},
            "line 2: no 'text' in 'txt'; did you mean 'txt'",
        ),
        ("t.xlsx", "a,b\n", {}, r"expected a name that ends in \.csv, \.tsv"),
        ("t.csv", "a\n1\n", {"encoding": "utf-16"}, "'utf-16' is not based on ASCII"),
        ("t.csv", "a\n1\n", {"encoding": "utf-9"}, "'utf-9' is not known"),
        ("t.csv", "a\n1\n", {"kind": "jsnl"}, "did you mean 'jsonl'"),
    ],
)
def test_bad_files_say_where_and_what(tmp_path, name, content, options, message):
    path = written(tmp_path, name, content)
    with pytest.raises(ValueError, match=message) as caught:
        open_table(path, **options)
    assert str(path) in str(caught.value) or options


def test_unchecked_rows_say_where_when_they_are_read(tmp_path):
    path = written(tmp_path, "t.csv", "a,b\n1,2\n\n3\n")
    table = open_table(path, check=False)
    assert table[0] == {"a": "1", "b": "2"}
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 4: expected 2 fields")):
        table[1]
    rows = read_rows(path)
    assert next(rows) == (2, {"a": "1", "b": "2"})
    with pytest.raises(ValueError, match="line 4: expected 2 fields"):
        next(rows)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_table(tmp_path / "none.csv")


def test_a_quote_left_open_is_given_up_on(tmp_path, monkeypatch):
    monkeypatch.setattr(_tables, "_LONGEST", 100)
    path = written(tmp_path, "t.csv", 'a,b\n1,"2\n' + "3,4\n" * 60 + '5,"6"\n')
    with pytest.raises(ValueError, match="line 2: a field begins"):
        open_table(path)
