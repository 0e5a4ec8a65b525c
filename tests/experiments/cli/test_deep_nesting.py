"""JSON and TOML that are nested too deeply, or no JSON at all, in every file that is read."""

import pytest
from command_line import run

from rnnjax.experiments._parsing import parse_json, read_toml_file
from rnnjax.experiments.cli._plan import read_plan
from rnnjax.experiments.data import read_captions, read_rows
from rnnjax.experiments.training import read_config, read_metrics

LISTS = "[" * 100_000
OBJECTS = '{"step":' * 100_000
READERS = {
    "rows.jsonl": (lambda path: list(read_rows(path)), r"rows\.jsonl, line 1: not JSON .* deeply"),
    "captions.json": (read_captions, r"captions\.json: not JSON that can be read: .* too deeply"),
    "metrics.jsonl": (lambda path: read_metrics(path.parent), r"metrics\.jsonl, line 1: expected"),
    "config.toml": (lambda path: read_config(path.parent), r"config\.toml is not TOML: .* deeply"),
    "plan.toml": (read_plan, r"plan\.toml is not TOML: objects or lists are nested too deeply"),
}


@pytest.mark.parametrize("content", [LISTS, OBJECTS], ids=["lists", "objects"])
@pytest.mark.parametrize("name", READERS)
def test_deep_nesting_is_refused(tmp_path, name, content):
    read, message = READERS[name]
    begin, content = ("a = ", content.replace('"step":', "a=")) if "toml" in name else ("", content)
    (tmp_path / name).write_text(f"{begin}{content}\n")
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path / name)
    assert len(str(caught.value)) < 500


def test_deep_nesting_in_results_is_refused(tmp_path):
    (tmp_path / "config.toml").write_text('task = "parity"\n')
    (tmp_path / "results.json").write_text(LISTS)
    code, _, errors = run("curves", tmp_path)
    assert code == 2
    assert errors.count("\n") == 1
    assert "nested too deeply" in errors


def test_a_value_of_the_wrong_type_is_quoted_in_short(tmp_path):
    path = tmp_path / "captions.json"
    images = f'[{{"id": 1, "file_name": {"[" * 500 + "]" * 500}}}]'
    path.write_text(f'{{"images": {images}, "annotations": []}}')
    with pytest.raises(ValueError, match=r"images\[0\]: expected text as 'file_name', got \[") as e:
        read_captions(path)
    assert len(str(e.value)) < 500


@pytest.mark.parametrize("key", [".".join("a" * 3000), ' . "a" . '.join("b" * 3000)])
@pytest.mark.parametrize("form", ["{} = 1", "[{}]", "c = {{ {} = 1 }}"])
def test_keys_of_many_parts_are_refused(tmp_path, key, form):
    """tomllib takes a time that is quadratic in the number of parts."""
    (tmp_path / "a.toml").write_text(form.format(key))
    with pytest.raises(ValueError, match="nested too deeply"):
        read_toml_file(tmp_path / "a.toml")


def test_toml_that_is_too_long_is_not_parsed(tmp_path):
    (tmp_path / "a.toml").write_text("# comment\n" * 200_000)
    with pytest.raises(ValueError, match=r"a\.toml is not TOML: it has more than 1048576 bytes"):
        read_toml_file(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text('a.b = "one. two. three 1.2.3"\n')
    assert read_toml_file(tmp_path / "a.toml") == {"a": {"b": "one. two. three 1.2.3"}}


def test_toml_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert read_toml_file(tmp_path / "a.toml") == {"a": 1}


def test_json_of_every_kind_of_damage_is_a_value_error():
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    for text, message in (
        ("[1,\n x]", "f, line 2: not JSON: Expecting value at column 2"),
        (b'"\xff"', "f: not UTF-8, which JSON is"),
        ("9" * 5000, "f: not JSON that can be read: Exceeds the limit"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_json(text, "f")
