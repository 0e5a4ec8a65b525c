"""Rows of tables: every kind of file, and what is said about a bad one."""

import bz2
import csv
import gzip
import json
import lzma
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rnnjax.experiments.data import _tables, read_rows

CELLS = st.text(st.sampled_from('ab,;"\n\r\t é'), max_size=6)


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(path, *args, **options):
    return [row for _, row in read_rows(path, *args, **options)]


@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
def test_reads_what_the_csv_module_wrote(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("p,q", "r"), *rows])
    assert [tuple(row.values()) for row in rows_of(path)] == rows


def test_lines_across_quotes_blank_lines_and_a_mark(tmp_path):
    content = '\ufeff\r\na,b\r\n1,"x\ny"\r\n\r\n  \r\n2,z\r\n3,"say ""so"", ok"\r\n'
    assert list(read_rows(written(tmp_path, "t.CSV", content))) == [
        (3, {"a": "1", "b": "x\ny"}),
        (7, {"a": "2", "b": "z"}),
        (8, {"a": "3", "b": 'say "so", ok'}),
    ]
    alone = written(tmp_path, "u.csv", 'a\n\n1\n  \n""\n')
    assert list(read_rows(alone)) == [(3, {"a": "1"}), (5, {"a": ""})]


def test_tsv_takes_quotes_as_letters(tmp_path):
    path = written(tmp_path, "t.tsv", 'text\tlabel\n"quite, so\tpos\n5" wide\tneg\n')
    assert rows_of(path)[0] == {"text": '"quite, so', "label": "pos"}
    assert rows_of(path, ["label"])[1] == {"label": "neg"}


def test_jsonl_keeps_json_values(tmp_path):
    rows = [{"text": "a\nb", "stars": 5}, {"text": "é", "stars": 1.5, "more": None}]
    path = written(tmp_path, "t.jsonl", "\n".join(map(json.dumps, rows)))
    assert rows_of(path) == rows
    assert rows_of(path, ["stars"])[1] == {"stars": 1.5}


def test_without_header(tmp_path):
    path = written(tmp_path, "captions.txt", "1.jpg#0\ta dog\n1.jpg#1\ttwo, dogs\n")
    options = {"kind": "tsv", "header": False}
    assert list(read_rows(path, ["image", "caption"], **options)) == [
        (1, {"image": "1.jpg#0", "caption": "a dog"}),
        (2, {"image": "1.jpg#1", "caption": "two, dogs"}),
    ]
    assert rows_of(path, **options)[0] == {"0": "1.jpg#0", "1": "a dog"}
    assert rows_of(path, ["1"], **options)[1] == {"1": "two, dogs"}


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
def test_delimiter_is_found(tmp_path, delimiter):
    path = written(tmp_path, "t.csv", f'a{delimiter}b\n"x{delimiter}y"{delimiter}2\n')
    assert rows_of(path)[0] == {"a": f"x{delimiter}y", "b": "2"}


def test_a_decimal_comma_delimits_only_if_nothing_else_does(tmp_path):
    path = written(tmp_path, "t.csv", "1,5;2,5\n")
    assert rows_of(path, header=False, decimal=",") == [{"0": "1,5", "1": "2,5"}]
    quoted = written(tmp_path, "u.csv", 'a,b\n"1,5","2,5"\n')
    assert rows_of(quoted, decimal=",") == [{"a": "1,5", "b": "2,5"}]


def test_other_encodings(tmp_path):
    path = written(tmp_path, "t.csv", "a,b\n1,caf\xe9\n".encode("latin-1"))
    assert rows_of(path, encoding="latin-1")[0]["b"] == "café"
    marked = written(tmp_path, "u.csv", "\ufeffa,b\n1,é\n")
    assert rows_of(marked, encoding="UTF8") == rows_of(marked, encoding="utf-8-sig")
    assert rows_of(marked)[0] == {"a": "1", "b": "é"}
    wide = written(tmp_path, "v.csv", "a\tb\n1\té\n".encode("utf-16"))
    assert rows_of(wide, encoding="utf-16") == [{"a": "1", "b": "é"}]


@pytest.mark.parametrize(
    ("ending", "name", "compress"),
    [
        (".gz", "gzip", gzip.compress),
        (".bz2", "bz2", bz2.compress),
        (".xz", "xz", lzma.compress),
    ],
)
def test_compressed(tmp_path, ending, name, compress):
    table = compress(b"a,b\n1,2\n" * 5000)
    assert len(rows_of(written(tmp_path, f"t.csv{ending}", table))) == 9999
    unnamed = written(tmp_path, "t.csv", table)
    assert rows_of(unnamed, compression=name)[0] == {"a": "1", "b": "2"}
    hint = (
        "is compressed.*give compression='gzip'" if name == "gzip" else "t.csv, line 1: not utf-8"
    )
    with pytest.raises(ValueError, match=hint):
        rows_of(unnamed)
    for damaged in (table[: len(table) // 2], b"a,b\n1,2\n", table[:-8] + bytes(8)):
        with pytest.raises(ValueError, match=f"t.csv: damaged {name} file: "):
            rows_of(written(tmp_path, "t.csv", damaged), compression=name)
    with pytest.raises(ValueError, match="did you mean 'gzip'"):
        rows_of(unnamed, compression="gzp")


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
        ("t.jsonl", '{"a": 1}\n{"a": 1\n', {}, "line 2: not JSON: Expecting"),
        ("t.jsonl", '{"a": 1}\n[1]\n', {}, "line 2: expected a JSON object, got list"),
        (
            "t.jsonl",
            '{"text": 1}\n{"txt": 1}\n',
            {"columns": ["text"]},
            "line 2: no 'text' in 'txt'; did you mean 'txt'",
        ),
        ("t.csv", 'a,b\n1,2\n"3"x,4\n', {}, "line 3: not a row of CSV: .* written twice"),
        ("t.csv", "1.5,2\n3,4\n", {"columns": ["x"]}, "no column 'x' .* is there no header"),
        ("t.csv", "1,1\n3,4\n", {}, "2 columns are named '1'; is there no header"),
        ("t.csv", "text\n" + "x" * 140_000, {}, "line 2: a field of more than 131,072 charact"),
        ("t.jsonl", '{"a": ' + "[" * 100_000, {}, "line 1: not JSON that can be read"),
        ("t.xlsx", "a,b\n", {}, r"expected a name that ends in \.csv, \.tsv"),
        ("t.csv", b"a\n1\n2", {"encoding": "utf-16"}, "t.csv: not utf-16: "),
        ("t.csv", "a\n1\n", {"delimiter": ";;"}, "delimiter must be one character .* got ';;'"),
        ("t.csv", "a\n1\n", {"encoding": "utf-9"}, "encoding='utf-9' is not known"),
        ("t.csv", "a\n1\n", {"kind": "jsnl"}, "did you mean 'jsonl'"),
    ],
)
def test_bad_files_say_where_and_what(tmp_path, name, content, options, message):
    path = written(tmp_path, name, content)
    with pytest.raises(ValueError, match=message) as caught:
        rows_of(path, **options)
    assert str(path) in str(caught.value) or options


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        rows_of(tmp_path / "none.csv")


def test_a_line_without_end_is_given_up_on(tmp_path, monkeypatch):
    monkeypatch.setattr(_tables, "_LONGEST", 100)
    for name in ("t.csv", "t.jsonl"):
        path = written(tmp_path, name, "a\n" * (name == "t.csv") + "1" * 101)
        line = 1 + (name == "t.csv")
        with pytest.raises(ValueError, match=re.escape(f"{path}, line {line}: more than 100 ch")):
            rows_of(path)
    assert len(rows_of(written(tmp_path, "t.csv", "a\n" + "1" * 99 + "\n"))) == 1
