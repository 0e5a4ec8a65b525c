"""Where all text that commands print passes: nothing in data reaches the terminal as a command."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from rnnjax.experiments.cli._streams import UnprintedError

# Control characters (C0 and C1), marks and overrides of the writing direction, line and paragraph
# separators, and the surrogates by which Python spells bytes of file names that are not UTF-8.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_LONGEST = 2000  # characters of an error; a message may quote what it found in a file
_LINE_END = re.compile(r"\s*[\r\n]\s*")


def printable(text: object, keep: str = "") -> str:
    """Escape what a terminal would obey instead of show, as Python escapes it.

    Args:
      text: anything, by its `str`.
      keep: characters to leave as they are, such as line ends.

    Example:
      >>> printable("a red \\x1b[31mword")
      'a red \\\\x1b[31mword'
    """
    return _UNSAFE.sub(lambda found: _escaped(found[0], keep), str(text))


def _escaped(letter: str, keep: str) -> str:
    return letter if letter in keep else letter.encode("unicode_escape").decode()


def shortened(text: str) -> str:
    """`text`, without its middle if it is longer than anyone reads."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[: 2 * _LONGEST // 3]} … {text[-_LONGEST // 3 :]}"


def say(text: object, *, err: bool = False, color: str | None = None) -> None:
    """Print one line, in color where that is wanted; line ends within the text become spaces."""
    _print(_LINE_END.sub(" ", str(text).strip("\r\n")), err, "", color)


def say_text(text: str, *, err: bool = False) -> None:
    """Print text of several lines, with its line ends and tabs."""
    _print(text, err, "\n\t")


def _print(text: str, err: bool, keep: str, color: str | None = None) -> None:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    try:
        typer.secho(printable(text, keep), err=err, fg=None if plain else color)
    except OSError as error:
        if not err:  # where standard error is closed, nobody reads it
            raise UnprintedError from error


@contextmanager
def warnings_of(command: str) -> Iterator[None]:
    """Print each warning in one line, without the place in the code that it came from."""

    def show(message: Warning | str, *_: object) -> None:
        say(f"rnnjax {command}: warning: {message}", err=True, color="yellow")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
