"""Closed, full and silenced streams, and what is said while a user waits."""

import errno
import gc
import io
import logging
import os
import signal
import sys
import threading
import time
import warnings
from contextlib import nullcontext
from typing import ClassVar

import pytest
import typer
from command_line import run

from rnnjax.experiments import cli
from rnnjax.experiments.cli import _interruptible, _printing, _streams
from rnnjax.experiments.cli._output import errors_of
from rnnjax.experiments.cli._printing import say, say_text
from rnnjax.experiments.cli._streams import ended, open_streams, silenced, waiting


class Refusing(io.StringIO):
    def __init__(self, code):
        super().__init__()
        self.code = code

    def write(self, text):
        raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("what", [say, say_text, print])
@pytest.mark.parametrize(
    ("code", "returned", "said"),
    [
        (errno.EPIPE, 141, ""),
        (errno.ENOSPC, 1, "rnnjax: cannot write to standard output: No space left on device\n"),
    ],
)
def test_output_that_cannot_be_written(what, code, returned, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Refusing(code))

    def command():
        with errors_of("tasks") if what is not print else nullcontext():
            what("text")
        return 0

    assert ended(command) == returned
    assert capsys.readouterr().err == said


def test_the_file_of_another_error_is_not_standard_output():
    def command():
        return open("nowhere/x").read()

    with pytest.raises(FileNotFoundError):
        ended(command)


def test_a_closed_standard_error_ends_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Refusing(errno.EPIPE))
    say("text", err=True)


@pytest.fixture
def ended_at_once(monkeypatch):
    """List the codes with which the process, and the tests with it, would have ended."""
    handler, hook, codes = signal.getsignal(signal.SIGINT), sys.unraisablehook, []
    monkeypatch.setattr(cli.os, "_exit", codes.append)
    yield codes
    signal.signal(signal.SIGINT, handler)
    assert sys.unraisablehook is hook


class Timer:
    """One that goes off when it is told to, and when it is waited for: cancelled too late."""

    made: ClassVar[list["Timer"]] = []

    def __init__(self, pause, function):
        self.go_off = function
        self.made.append(self)

    def start(self):
        assert self.daemon

    def cancel(self):
        pass

    def join(self):
        self.go_off()


@pytest.fixture
def timers(monkeypatch):
    monkeypatch.setattr(cli.threading, "Timer", Timer)
    monkeypatch.setattr(Timer, "made", [])
    return Timer.made


def lose_two():
    """Press Ctrl-C in two garbage collections, where Python drops the errors of callbacks.

    JAX has such a callback.
    """

    def pressed(phase, info):
        if phase == "start":
            signal.raise_signal(signal.SIGINT)

    gc.callbacks.append(pressed)
    try:
        gc.collect()
        gc.collect()
    finally:
        gc.callbacks.remove(pressed)


def test_ctrl_c_during_a_garbage_collection_is_not_lost(ended_at_once, timers, capfd):
    """And what is cleaned up after it is not ended as if it had been pressed again."""
    cleaned = []

    def command(arguments):
        lose_two()
        first, second = timers
        try:
            first.go_off()
            time.sleep(0)  # where Python looks for it
        finally:
            second.go_off()
            cleaned.append(True)
        return 0

    assert _interruptible(command, []) == 130
    assert (cleaned, ended_at_once) == ([True], [])
    assert capfd.readouterr().err == ""


def test_a_lost_ctrl_c_does_not_follow_a_command_that_has_ended(ended_at_once, timers):
    def command(arguments):
        lose_two()
        return 0

    assert _interruptible(command, []) == 0
    assert (len(timers), ended_at_once) == (2, [])


def test_a_second_ctrl_c_ends_at_once(ended_at_once):
    def command(arguments):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
        return 0

    assert _interruptible(command, []) == 130
    assert ended_at_once == [130]


def test_other_errors_that_python_drops_are_still_said(monkeypatch):
    class Refusing:
        def __del__(self):
            raise ValueError("no")

    said = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: said.append(lost.exc_value.args))
    handler = signal.getsignal(signal.SIGINT)
    try:
        assert _interruptible(lambda arguments: bool(Refusing()) - 1, []) == 0
    finally:
        signal.signal(signal.SIGINT, handler)
    assert said == [("no",)]


def test_closed_streams_are_opened(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    open_streams()
    print("nobody", file=sys.stderr)
    assert (print("nobody"), sys.stdin.read()) == (None, "")
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()


def test_letters_that_the_terminal_lacks_are_replaced(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), "latin-1")
    monkeypatch.setattr(sys, "stdout", narrow)
    open_streams()
    print("‖∂C/∂h_t‖ é", flush=True)
    assert narrow.buffer.getvalue() == "??C/?h_t? é\n".encode("latin-1")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", "x")])
def test_errors_are_plain_where_that_is_wanted(name, value, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    colors = []
    monkeypatch.setattr(
        _printing.typer, "secho", lambda text, err, fg: colors.append((text, err, fg))
    )
    assert run("train", "parity", "--hidden", 0).returncode == 2
    assert colors == [
        (
            "rnnjax train parity: --hidden must be at least 1, got 0",
            True,
            "red" if value == "x" else None,
        )
    ]


def test_quiet_silences_libraries_and_not_errors(capfd, caplog):
    with silenced():
        os.write(2, b"from C++\n")
        logging.getLogger("library").error("from a log")
        assert caplog.records == []
        warnings.warn("from a library", stacklevel=1)
        assert os.environ["TQDM_DISABLE"] == "1"
        with pytest.raises(typer.Exit), errors_of("train"):
            raise ValueError("wrong")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "rnnjax train: wrong\nafter\n"
    assert "TQDM_DISABLE" not in os.environ
    assert logging.root.manager.disable == logging.NOTSET


@pytest.mark.parametrize(
    ("terminal", "said"),
    [
        (False, "reading …\nreading … 11 s\nreading … 31 s\n"),
        (True, "\r\x1b[Kreading …\r\x1b[Kreading … 2 s\r\x1b[Kreading … 3 s\r\x1b[K"),
    ],
)
def test_waiting_is_said_and_said_again(terminal, said, monkeypatch):
    class Clock:
        now, pauses = 0.0, 0

        def wait(self, pause):
            Clock.now += pause
            Clock.pauses += 1
            return Clock.pauses > 3

    shown = io.StringIO()
    shown.isatty = lambda: terminal
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(_streams.time, "monotonic", lambda: Clock.now)
    _streams._say_until(Clock(), "reading", 1.0)
    assert shown.getvalue() == said


def test_what_is_soon_done_or_quiet_says_nothing(capsys):
    with waiting("reading", after=60):
        pass
    with waiting("reading", after=0, quiet=True):
        threading.Event().wait(0.01)
    assert capsys.readouterr().err == ""


def test_memory_that_runs_out_is_one_line(capsys):
    with pytest.raises(typer.Exit), errors_of("train adding"):
        raise MemoryError
    assert capsys.readouterr().err == (
        "rnnjax train adding: out of memory: take smaller sizes, such as of the batches\n"
    )
