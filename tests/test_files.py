"""Files that are replaced whole, or not at all."""

import os

import pytest

from rnnjax._files import replace_file, write_json


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
