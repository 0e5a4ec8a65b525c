"""The standard streams of a command: closed, full, piped into `head`, or silenced."""

import errno
import io
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

PIPE_CLOSED = 141  # as of a process that SIGPIPE ended
UNPRINTED = 1
_STDERR = 2  # the descriptor
_OF_PRINTING = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF)
_SILENT = {
    "TQDM_DISABLE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
_LATER = 10.0  # seconds until a line that waiting goes on; then twice as many, and so on


class UnprintedError(Exception):
    """What a command says cannot be printed, because of an OSError, its cause."""


def ended(command: Callable[[], int]) -> int:
    """Run a command and flush what it printed; the exit code, also if it cannot be printed.

    The end of `rnnjax tasks | head -1` is quiet; a full disk is one line on standard error.
    """
    try:
        code = command()
        sys.stdout.flush()
        return code
    except (UnprintedError, OSError) as error:
        reason = error.__cause__ if isinstance(error, UnprintedError) else error
        if getattr(reason, "errno", None) not in _OF_PRINTING or getattr(reason, "filename", None):
            raise
        _discard_output()
        if isinstance(reason, BrokenPipeError):
            return PIPE_CLOSED
        why = getattr(reason, "strerror", None) or reason
        with suppress(OSError):
            sys.stderr.write(f"rnnjax: cannot write to standard output: {why}\n")
            sys.stderr.flush()
        return UNPRINTED


def _discard_output() -> None:
    """Let the interpreter end without a second error about what is still to be written."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_streams() -> None:
    """Replace streams that are closed, as by `>&-`; let none refuse a letter like ∂."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace" if stream is sys.stderr else "replace")


@contextmanager
def silenced() -> Iterator[None]:
    """Let libraries say nothing: no warning, log or progress bar, and nothing from C++.

    Errors of commands are still printed: `sys.stderr` goes where standard error went.
    """
    before = {name: os.environ.get(name) for name in _SILENT}
    os.environ.update(_SILENT)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"), _python_alone():
            yield
    finally:
        logging.disable(logging.NOTSET)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _python_alone() -> Iterator[None]:
    """Leave standard error to Python: what C++ writes to its descriptor is dropped."""
    stream = sys.stderr
    try:
        own, kept = os.dup(stream.fileno()), os.dup(_STDERR)
    except (OSError, ValueError):  # no descriptor
        yield
        return
    stream.flush()
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), _STDERR)
    try:
        with open(own, "w", encoding=stream.encoding, errors="backslashreplace") as sys.stderr:
            yield
    finally:
        sys.stderr = stream
        os.dup2(kept, _STDERR)
        os.close(kept)


@contextmanager
def waiting(what: str, after: float = 1.0, quiet: bool = False) -> Iterator[None]:
    """Say on standard error what takes long, if it does: again and again, with the seconds.

    On a terminal it is one line, which vanishes at the end.

    Args:
      what: such as "reading the data".
      after: seconds until it is said.
      quiet: say nothing.
    """
    if quiet:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_say_until, args=(done, what, after), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _say_until(done: threading.Event, what: str, after: float) -> None:
    terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    begin, pause, said = time.monotonic(), after, False
    with suppress(OSError, ValueError):
        while not done.wait(pause):
            passed = f" {time.monotonic() - begin:.0f} s" if said else ""
            line = f"{what} …{passed}"
            sys.stderr.write(f"\r\x1b[K{line}" if terminal else f"{line}\n")
            sys.stderr.flush()
            pause = 1.0 if terminal else _LATER if not said else 2 * pause
            said = True
        if said and terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
