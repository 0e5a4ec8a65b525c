"""What data and file names hold reaches the terminal escaped, on every way to it."""

import ast
import os
import warnings
from pathlib import Path

import pytest
import typer
from command_line import run

from rnnjax.experiments.cli import _printing
from rnnjax.experiments.cli._output import errors_of, show_rows
from rnnjax.experiments.cli._printing import printable, say, say_text

UNSAFE = {
    "\x1b[2J": r"\x1b[2J",  # clears the screen
    "\x9b31m": r"\x9b31m",  # the same in one byte
    "\x07\x08\x7f\0": r"\x07\x08\x7f\x00",
    "\u202etxt.exe": r"\u202etxt.exe",  # writes backwards
    "\u2067\u2069\u200f\u061c": r"\u2067\u2069\u200f\u061c",
    "\u2028\u2029\x85": r"\u2028\u2029\x85",
    os.fsdecode(b"\xff.wav"): r"\udcff.wav",
}


@pytest.mark.parametrize(("text", "shown"), UNSAFE.items(), ids=UNSAFE.values())
def test_what_a_terminal_obeys_is_escaped(text, shown, capsys):
    assert printable(text) == shown
    show_rows(("of", text), [(f"1{text}", "\t\n")])
    assert capsys.readouterr().out.splitlines() == [
        f"of{' ' * (len(shown) - 1)}  {shown}",
        f"1{shown}  " + r"\t\n",
    ]
    say_text(f"a\n\tb{text}")
    assert capsys.readouterr().out == f"a\n\tb{shown}\n"
    with pytest.raises(typer.Exit), errors_of("classify"):
        raise ValueError(f"no file {text},\n  only others")
    assert capsys.readouterr().err == f"rnnjax classify: no file {shown}, only others\n"


def test_letters_of_all_scripts_stay():
    text = "naïve Ωμέγα עברית العربية हिन्दी 日本語 👩\u200d🔬 “x” ½"
    assert printable(text) == text


def test_wrong_use_is_escaped():
    done = run("train", "\x1b[31mred")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert r"\x1b[31mred" in done.stderr
    done = run("curves", "no\x1b[2J\nsuch")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert r"no\x1b[2J such" in done.stderr


def test_a_warning_is_one_line(capsys):
    with warnings.catch_warnings(), errors_of("train caption"):
        warnings.simplefilter("always")
        warnings.warn("a\x1b.png is not there,\nnor are others", stacklevel=1)
    assert capsys.readouterr().err == (
        "rnnjax train caption: warning: a\\x1b.png is not there, nor are others\n"
    )


def test_nothing_else_prints():
    """A call past this module would print data raw."""
    folder = Path(_printing.__file__).parent
    past = []
    for path in folder.glob("*.py"):
        if path.name != "_printing.py":
            calls = (n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if type(n) is ast.Call)
            names = {ast.unparse(call.func) for call in calls}
            past += [(path.name, name) for name in names & {"print", "typer.echo", "typer.secho"}]
    assert past == []
    say("")  # an empty line is one
