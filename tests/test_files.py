"""Files that are replaced whole, or not at all."""

import errno
import os

import pytest

from rnnjax._files import left_partials, replace_file, write_json


def test_the_last_of_two_writers_of_a_path_wins(tmp_path):
    path = tmp_path / "both.json"

    def slow(partial):
        partial.write_text("slow")
        replace_file(path, lambda other: other.write_text("fast, but longer"))
        assert path.read_text() == "fast, but longer"
        assert partial.read_text() == "slow"

    replace_file(path, slow)
    assert path.read_text() == "slow"
    assert os.listdir(tmp_path) == ["both.json"]


def test_errors_name_the_file_that_was_asked_for(tmp_path):
    missing, folder = tmp_path / "missing" / "a.json", tmp_path / "folder.json"
    folder.mkdir()
    for path, kind in ((missing, FileNotFoundError), (folder, IsADirectoryError)):
        with pytest.raises(kind) as raised:
            write_json(path, {})
        assert raised.value.filename == str(path)
        assert "partial" not in str(raised.value)
    assert os.listdir(tmp_path) == ["folder.json"]


@pytest.mark.parametrize("name", ["m" * 250 + ".json", "é" * 125 + ".json", "m." + "n" * 253])
def test_names_may_be_as_long_as_the_file_system_takes(tmp_path, name):
    partials = []

    def write(partial):
        partials.append(partial)
        partial.write_text("whole")
        assert list(left_partials(tmp_path / name)) == [partial]

    replace_file(tmp_path / name, write)
    assert (tmp_path / name).read_text() == "whole"
    assert os.listdir(tmp_path) == [name]
    assert ".partial." in partials[0].name


def test_the_error_of_a_name_that_is_too_long_names_it(tmp_path):
    path = tmp_path / ("m" * 252 + ".json")
    with pytest.raises(OSError, match="too long") as raised:
        write_json(path, {})
    assert raised.value.filename == str(path)
    assert os.listdir(tmp_path) == []


def test_the_error_of_writing_outlives_that_of_cleaning_up(tmp_path):
    path = tmp_path / "a.json"

    def write(partial):
        partial.mkdir()  # which unlink refuses
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as raised:
        replace_file(path, write)
    assert raised.value.filename == str(path)
