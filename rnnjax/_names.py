"""What errors call arguments: by their names in Python, or by their flags in a command."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from typing import Any

_FLAGS: ContextVar[Mapping[str, str]] = ContextVar("flags", default={})  # noqa: B039, never changed


@contextmanager
def spelled(flags: Mapping[str, str]) -> Iterator[None]:
    """Inside, errors call arguments by their flags: argument name -> "--flag".

    The command line enters it with the options of the command that runs.
    """
    token = _FLAGS.set(flags)
    try:
        yield
    finally:
        _FLAGS.reset(token)


def option(name: str, value: Any = None) -> str:
    """How an error calls an argument, with a value if there is one.

    Example:
      >>> option("top_k"), option("missing", "previous"), option("resume", True)
      ('top_k', "missing='previous'", 'resume=True')
      >>> with spelled({"top_k": "--top-k", "missing": "--missing", "resume": "--resume"}):
      ...     option("top_k"), option("missing", "previous"), option("resume", True)
      ('--top-k', '--missing previous', '--resume')
      >>> with spelled({"header": "--header"}):
      ...     option("header", False)
      '--no-header'
    """
    flag = _FLAGS.get().get(name)
    if flag is None:
        return name if value is None else f"{name}={value!r}"
    if value is False:
        return f"--no-{flag.removeprefix('--')}"
    return flag if value is None or value is True else f"{flag} {value}"


def nearest(value: str, choices: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest of `choices`, if one is near."""
    found = nearest_of(value, choices)
    return f"; did you mean {found!r}?" if found else ""


def nearest_of(value: str, choices: Iterable[str]) -> str | None:
    """The choice most like a name: in other case, cut short, by its initials, or misspelled.

    Example:
      >>> names = ("learning-rate", "lstm", "hidden", "lstm_1997")
      >>> [nearest_of(name, names) for name in ("lr", "LSTM", "hid", "hiden", "lstm-1997", "x")]
      ['learning-rate', 'lstm', 'hidden', 'hidden', 'lstm_1997', None]
    """
    words = {choice: re.findall(r"[^\W_]+", choice.lower()) for choice in choices}
    asked = re.findall(r"[^\W_]+", str(value).lower())
    whole, plain = "".join(asked), {choice: "".join(parts) for choice, parts in words.items()}
    alike = [choice for choice in plain if plain[choice] == whole]
    if len(whole) > 1:
        alike += [c for c, parts in words.items() if "".join(p[0] for p in parts) == whole]
    near = get_close_matches(whole, list(plain.values()), n=1)
    alike += [choice for choice in plain if plain[choice] in near]
    if len(whole) > 1:
        alike += [choice for choice in plain if plain[choice].startswith(whole)]
    return alike[0] if alike and whole else None
