"""A column of numbers from a file: which one, what a bad cell says, and the copy on disk."""

import errno
import gzip
import hashlib
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest

from rnnjax.experiments.data.series import _column, _mapped, read_column

TABLE = "date,high,note,low\n2020-01-01,1.5,a,-2\n2020-01-02,2e3,7,3\n"


def written(folder, content, name="t.csv"):
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_named_column_or_the_last_with_numbers(tmp_path):
    path = written(tmp_path, TABLE)
    assert read_column(path, "high").values.tolist() == [1.5, 2000.0]
    assert read_column(path, "high").note == ""
    found = read_column(path)
    assert (found.name, found.values.tolist()) == ("low", [-2.0, 3.0])
    assert found.note == (
        f"column 'low' of {path}, the last with a number in the first row; column takes another: "
        "'high'"
    )
    text_last = written(tmp_path, f"a,b,c\n1,x,{'long' * 9}\n2,3,4\n", "u.csv")
    assert read_column(text_last).name == "a"
    assert re.search(
        r"'a' of .*u\.csv, the only one with a number in the first row; "
        r"passed over: 'b' holds 'x', 'c' holds 'longlonglonglonglo…$",
        read_column(text_last).note,
    )


def test_other_kinds_of_table(tmp_path):
    rows = '{"t": 1, "x": 2.5}\n{"t": 2, "x": "3"}\n'
    assert read_column(written(tmp_path, rows, "t.jsonl")).values.tolist() == [2.5, 3.0]
    tabs = written(tmp_path, "t\tx\n1\t4\n", "t.tsv")
    assert read_column(tabs, "x").values.tolist() == [4.0]
    semicolons = written(tmp_path, "t;x\n1;5.5\n", "s.csv")
    assert read_column(semicolons).values.tolist() == [5.5]


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        (TABLE, "hihg", "line 1: no column 'hihg' in .* did you mean 'high'"),
        (TABLE, "note", "line 2, column 'note': expected a number such as 3.14, got 'a'$"),
        ("x\n1\n\n2,5\n", "x", r"line 4: expected 1 field \(x\), got 2"),
        ('x\n1\n"2,5"\n', "x", "line 3, column 'x': .* such as 3.14, got '2,5'; decimal=',' would"),
        ('x\n"1,234"\n', "x", "got '1,234'; decimal=',' or thousands=',' would read it"),
        ('x\n"1,234.5"\n', "x", "got '1,234.5'; thousands=',' would read it"),
        ('x\n"1.234,5 %"\n', "x", "; decimal=',' and thousands='.' and percent=True would read"),
        ("x\n1_000\n", "x", "expected a number such as 3.14, got '1_000'"),
        ("x\n1\n1e302\n", "x", r"line 3, column 'x': expected a number below 1e\+150 in size"),
        ("x\n1e400\n", "x", r"expected a number below 1e\+150 in size, got '1e400'"),
        (
            "1.5\n2.5\n",
            None,
            "the first line should name .* '1.5'; is there no header.*column='1.5'",
        ),
        ("2020,1.5\n2021,2.5\n", None, "the first line should name the columns, but has '1.5'"),
        ("x,y\n1,2\n,3\n", "x", "line 3, column 'x': no value, ''; missing='previous'"),
        ("x\n1\nNaN\n", "x", "line 3, column 'x': no value, 'NaN'"),
        ("x\n1\n-inf\n", "x", "line 3, column 'x': expected a finite number, got '-inf'"),
        (
            'x,y\n1,"2,5"\n',
            None,
            "'y' holds '2,5'.*; decimal=',' would read it.*be 'x'.*say column='x'",
        ),
        ("x,y\n1,12 %\n", None, "line 2: column 'y' holds '12 %'.*; percent=True would read it"),
        ("y;x\n1,5;a\n", None, "one of the columns: 'y' holds '1,5', 'x' holds 'a'; decimal=','"),
        ('x,y\n1,"1,234.5"\n', None, "line 2: column 'y' holds '1,234.5'"),
        ("x,y\n1,\n", None, "line 2: column 'y' holds ''"),
        (
            "x,y\na,b\n",
            None,
            "expected a number in one of the columns: 'x' holds 'a', 'y' holds 'b'",
        ),
        ("x,y\n", None, "has no rows after its header"),
        ("x,y\n", "y", "has no rows after its header"),
        ("", "x", "is empty"),
    ],
)
def test_bad_files_say_where_and_what(tmp_path, content, column, message):
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=message) as caught:
        read_column(path, column)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("true", r"expected a number.*True"),
        ("1" * 400, r"expected a number below 1e\+150 in size"),
        ("[1]", r"expected a number.*\[1\]"),
    ],
)
def test_json_that_is_no_number(tmp_path, cell, message):
    path = written(tmp_path, f'{{"x": 1}}\n{{"x": {cell}}}\n', "t.jsonl")
    with pytest.raises(ValueError, match=f"line 2, column 'x': {message}"):
        read_column(path, "x")


def test_a_table_without_header(tmp_path):
    path = written(tmp_path, "2020-01-01,1.5\n2020-01-02,2.5\n")
    assert read_column(path, header=False)[:2] == ("1", pytest.approx([1.5, 2.5], abs=0))
    years = written(tmp_path, "2020,2021\n1,2\n", "years.csv")
    assert read_column(years, "2021").values.tolist() == [2]


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("x;y\n1;2,5\n2;-3,75\n", {"decimal": ","}, [2.5, -3.75]),
        ("y\n2,5\n3\n", {"decimal": ","}, [2.5, 3]),
        ('y\n"1,234.5"\n"12,345,678"\n9\n', {"thousands": ","}, [1234.5, 12345678, 9]),
        ('y\n"12,34,567"\n', {"thousands": ","}, [1234567]),
        ("x;y\n0;1.234,5\n0;1.234\n", {"decimal": ",", "thousands": "."}, [1234.5, 1234]),
        ("y\n1\u202f234.5\n1 000\n", {"thousands": " "}, [1234.5, 1000]),
        ("y\n12.5 %\n-3%\n", {"percent": True}, [12.5, -3]),
        ("y\n1e3\n+2\n 3 \n", {}, [1000, 2, 3]),
    ],
)
def test_numbers_written_another_way(tmp_path, content, options, expected):
    column = read_column(written(tmp_path, content), **options)
    assert (column.name, column.values.tolist()) == ("y", expected)


@pytest.mark.parametrize(
    ("cell", "options", "message"),
    [
        ("1.5", {"decimal": ","}, "such as 3,14, got '1.5'"),
        ("1,5", {"thousands": ","}, "such as 1,234.14, got '1,5'"),
        ("12,34", {"thousands": ","}, "such as 1,234.14, got '12,34'"),
        ("1,23,4", {"thousands": ","}, "such as 1,234.14, got '1,23,4'"),
        ("1.234,5", {"thousands": ","}, "such as 1,234.14, got '1.234,5'"),
        ("5", {"percent": True}, "such as 3.14 %, got '5'"),
        ("5", {"decimal": "::"}, "decimal must be one character such as ',', got '::'"),
        ("5", {"thousands": "1"}, "thousands must be one character such as ',', got '1'"),
        ("5", {"thousands": "."}, "decimal and thousands must differ, got '.' for both"),
    ],
)
def test_numbers_not_written_as_is_said(tmp_path, cell, options, message):
    path = written(tmp_path, f'y\n"{cell}"\n')
    with pytest.raises(ValueError, match=message):
        read_column(path, "y", **options)


def test_a_compressed_column(tmp_path, monkeypatch):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"x\n1\n2\n"))
    assert read_column(path).values.tolist() == [1, 2]
    monkeypatch.setattr(_column, "LARGE", 128)  # what it holds may be far larger than the file
    assert isinstance(read_column(path, cache=tmp_path / "cache").values, np.memmap)


def test_missing_values_repeat_what_was_known(tmp_path):
    path = written(tmp_path, "t,x\n1,5\n2,\n3,NA\n4,7\n5,null\n")
    assert read_column(path, "x", missing="previous").values.tolist() == [5, 5, 5, 7, 7]
    first = written(tmp_path, "t,x\n1,?\n2,3\n", "u.csv")
    with pytest.raises(
        ValueError, match="line 2, column 'x': no value, '\\?', and no value before"
    ):
        read_column(first, "x", missing="previous")
    with pytest.raises(ValueError, match="did you mean 'previous'"):
        read_column(path, "x", missing="previus")


def test_a_large_file_is_read_once_and_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(_column, "LARGE", 1)
    monkeypatch.setattr(_mapped, "_CHUNK", 3)
    numbers = np.random.default_rng(0).normal(size=10)
    path = written(tmp_path, "x\n" + "\n".join(map(repr, numbers.tolist())) + "\n")
    cache = tmp_path / "cache"
    values = read_column(path, "x", cache=cache).values
    assert isinstance(values, np.memmap)
    np.testing.assert_array_equal(values, numbers)

    # Read again only if the content or how it is read is another, whatever the name and times.
    scan = _column.read_cells
    monkeypatch.setattr(_column, "read_cells", None)
    moved = path.rename(tmp_path / "moved.csv")
    os.utime(moved, ns=(0, 0))
    np.testing.assert_array_equal(read_column(moved, "x", cache=cache).values, numbers)
    monkeypatch.setattr(_column, "read_cells", scan)
    other = "x\n" + "\n".join(map(repr, (-numbers).tolist())) + "\n"
    moved.write_text(other)
    os.utime(moved, ns=(0, 0))
    np.testing.assert_array_equal(read_column(moved, "x", cache=cache).values, -numbers)
    with pytest.raises(ValueError, match=r"line 1, column '0': .* got 'x'"):
        read_column(moved, "0", header=False, cache=cache)


def test_without_a_place_for_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(_column, "LARGE", 1)
    cache = tmp_path / "cache"
    cache.write_text("a file, not a folder")
    column = read_column(written(tmp_path, "x\n1\n2\n"), cache=cache)
    assert isinstance(column.values, np.memmap)
    assert column.values.tolist() == [1, 2]


def test_a_full_disk_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(_column, "LARGE", 1)
    write, calls = _mapped._write, []

    def full_at_first(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*arguments)

    monkeypatch.setattr(_mapped, "_write", full_at_first)
    values = read_column(written(tmp_path, "x\n1\n2\n"), cache=tmp_path / "cache").values
    assert isinstance(values, np.memmap)
    assert values.tolist() == [1, 2]
    assert len(calls) == 2
    assert list((tmp_path / "cache").iterdir()) == []


def test_no_place_for_the_numbers_at_all(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_column, "LARGE", 1)
    monkeypatch.setattr(_mapped, "_write", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        read_column(written(tmp_path, "x\n1\n2\n"), cache=tmp_path / "cache")
    assert error.value.filename == tempfile.gettempdir()


def test_a_user_without_a_home(tmp_path, monkeypatch):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(_column, "LARGE", 1)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    assert read_column(written(tmp_path, "x\n1\n2\n")).values.tolist() == [1, 2]


def test_a_damaged_cache_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(_column, "LARGE", 1)
    path, cache = written(tmp_path, "x\n0\n2\n3\n"), tmp_path / "cache"
    assert read_column(path, cache=cache).values.tolist() == [0, 2, 3]
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    for damaged in (b"", whole[:8], whole[:16], whole[:-1], whole[:24], whole + whole):
        kept.write_bytes(damaged)
        assert read_column(path, cache=cache).values.tolist() == [0, 2, 3]
        assert kept.read_bytes() == whole
    assert list(cache.iterdir()) == [kept]


def test_a_bad_large_file_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(_column, "LARGE", 1)
    monkeypatch.setattr(_mapped, "_CHUNK", 2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    path = written(tmp_path, "x\n1\n2\n3\nfour\n")
    with pytest.raises(ValueError, match=re.escape("line 5, column 'x'")):
        read_column(path, "x")
    assert list((tmp_path / "home" / "rnnjax").iterdir()) == []


def test_the_cache_of_a_version_without_an_end_mark_is_left_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(_column, "LARGE", 1)
    path, cache = written(tmp_path, "x\n1\n2\n"), tmp_path / "cache"
    options = ("csv", "x", True, ".", None, False, "error", "utf-8", "infer")
    found = hashlib.sha256(path.read_bytes() + repr(options).encode())
    theirs = cache / f"{found.hexdigest()[:32]}.f64"
    cache.mkdir()
    numbers = np.array([1.0, 2.0]).tobytes()
    theirs.write_bytes(numbers)
    for _ in range(2):
        assert read_column(path, cache=cache).values.tolist() == [1, 2]
    assert theirs.read_bytes() == numbers
    assert len(list(cache.iterdir())) == 2
