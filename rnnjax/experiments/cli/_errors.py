"""Errors of a user, said in one line instead of a traceback."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

WRONG_USE = 2
FAILED = 1
INTERRUPTED = 130
TRACEBACK = "RNNJAX_TRACEBACK"


@contextmanager
def errors_of(command: str) -> Iterator[None]:
    """Say what is wrong with options, files or data, and exit with 2; with 1 at NaN and Inf.

    With `RNNJAX_TRACEBACK` set to anything, errors come with their tracebacks instead.
    """
    if os.environ.get(TRACEBACK):
        yield
        return
    try:
        yield
    except FloatingPointError as error:
        complain(command, error)
        raise typer.Exit(FAILED) from None
    except (ValueError, TypeError, OSError, ImportError) as error:
        complain(command, said(error))
        raise typer.Exit(WRONG_USE) from None


def complain(command: str, message: object, color: str = "red") -> None:
    """A line on standard error."""
    typer.secho(f"rnnjax {command}: {message}", err=True, fg=color)


def said(error: Exception) -> str:
    """The message, without the number that the operating system's errors begin with."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
