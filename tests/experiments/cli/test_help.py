"""Help: plain text that fits the terminal, swallows nothing and shows every default."""

import re

import pytest
from command_line import run

from rnnjax.experiments.cli._help import description
from rnnjax.experiments.tasks import TASKS
from rnnjax.experiments.tasks._recipes import (
    OF_SENTIMENT,
    OF_SPEECH,
    STRINGS,
    WORDS,
    sentiment_recipe,
)

COMMANDS = ["", "train", "compare", "generate", "caption", "classify", "transcribe", "forecast"]
COMMANDS += [
    "curves",
    "flow",
    "illustrate",
    "tasks",
    "doctor",
    *(f"train {task}" for task in TASKS),
]


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_the_terminal_and_is_plain(command, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, shown, errors = run(*command.split(), "--help")
    assert (code, errors) == (0, "")
    lines = shown.splitlines()
    too_long = [line for line in lines if len(line) > columns and len(line.split()) > 1]
    assert too_long == []
    assert lines[0].startswith(f"Usage: rnnjax {command}".rstrip())
    assert not set("\x1b`│╭\xa0") & set(shown)
    words = " ".join(shown.split())
    assert "  -h, --help" in shown
    assert not re.search(r"\b(without|default: *\(|default: None)[].;)]", words)
    assert "infer[" not in shown


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("train series", "its name, or with --no-header its number, counted from 0; by"),
        (
            "train series",
            "names the columns; if not, they are called 0, 1, 2 … [default: --header]",
        ),
        ("train sentiment", "Column of the texts in a table: its name, or with --no-header its nu"),
        ("train sentiment", "names the columns; if not, they are called 0, 1, 2 … [default: --hea"),
        ("forecast", "Column of --history: its name, or with --no-header its number, from 0."),
        ("forecast", "names the columns; if not, they are called 0, 1, 2 … [default: as in train"),
        ("train caption", "Pictures are cropped to their centre square and resized to this height"),
    ],
)
def test_help_says_how_files_are_read(command, text, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    _, shown, _ = run(*command.split(), "--help")
    assert text in " ".join(shown.split())


def test_formulas_lists_and_flags_of_a_docstring():
    text = (
        "One thing of `size` and `other`:\n\n"
        "    y = x;   z = y\n      + w\n    w = <unk> [cuda12]\n\n"
        'Two kinds:\n  "a": short;\n  "b": longer\n    than a line\nand more text.'
    )
    assert description(text, 22, {"size": "--size"}) == [
        "One thing of --size",
        "and other:",
        "",
        "    y = x;   z = y",
        "      + w",
        "    w = <unk> [cuda12]",
        "",
        "Two kinds:",
        '  "a": short;',
        '  "b": longer than a',
        "    line",
        "and more text.",
    ]


@pytest.mark.parametrize("task", [name for name, entry in TASKS.items() if entry.kind == "real"])
def test_help_shows_the_recipe_of_tasks_that_read_data(task, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    words = " ".join(run("train", task, "--help").stdout.split())
    entry = TASKS[task]
    assert entry.recipe is not None
    recipe = entry.recipe
    assert f"Training steps. [default: {entry.varies.get('steps', recipe.steps)}]" in words
    assert f"Peak learning rate. [default: {recipe.learning_rate:g}]" in words
    every = entry.varies.get("evaluate_every", recipe.evaluate_every)
    assert f"evaluations on held-out data. [default: {every}]" in words
    assert f"[default: runs/{task}]" in words


def test_what_help_says_of_recipes_that_vary_is_so():
    small, large = sentiment_recipe(10), sentiment_recipe(10**6)
    assert (small.steps, small.evaluate_every) == (60, 10)
    assert {
        "steps": f"6 epochs, at most {large.steps}",
        "evaluate_every": f"an epoch, at most {large.evaluate_every}",
    } == OF_SENTIMENT
    assert OF_SPEECH["steps"] == f"{WORDS.steps}, or {STRINGS.steps} with --mode ctc"
    assert STRINGS.evaluate_every == 200
    assert str(STRINGS.evaluate_every) in OF_SPEECH["evaluate_every"]


def test_a_group_without_a_command_shows_its_help_as_wrong_use():
    code, printed, errors = run("train")
    assert (code, printed) == (2, "")
    assert errors.startswith("Usage: rnnjax train [OPTIONS] COMMAND")
    assert "    rnnjax train --out FOLDER --resume " in errors
