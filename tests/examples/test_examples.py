"""The example scripts in their short form, as they are run, and what they print."""

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
LONGEST = 80  # lines

# script -> what it prints: a pattern whose group is a figure, and the range that it lies in
FIGURES = {
    "parity": (r"right after 1000 bits: ([\d.]+)%", 90, 100.01),
    "series": (r"mean absolute error: ([\d.]+)", 0.001, 0.5),
    "captioning": (r"BLEU-1 and BLEU-4: ([\d.]+),", -0.01, 60),
    "language": (r"nats per character, held out: ([\d.]+)", 0.1, 0.9),
    "sentiment": (r"accuracy on texts held out: ([\d.]+)%", 90, 100.01),
    "speech": (r"edits for each word said: ([\d.]+)", 0.1, 3.0),
}


def short_run(name, monkeypatch, capsys):
    path = EXAMPLES / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), "--short"])
    runpy.run_path(str(path), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.parametrize("name", FIGURES)
def test_the_short_form_prints_its_figure(name, monkeypatch, capsys):
    pattern, low, high = FIGURES[name]
    printed = short_run(name, monkeypatch, capsys)
    found = re.search(pattern, printed)
    assert found, printed
    assert low < float(found[1]) < high


def test_every_example_is_tested_and_short():
    scripts = {path.stem: path for path in EXAMPLES.glob("*.py")}
    assert set(scripts) == set(FIGURES)
    for path in scripts.values():
        assert len(path.read_text("utf-8").splitlines()) < LONGEST
