"""The command line: `rnnjax train`, `rnnjax compare`, and the rest that `rnnjax --help` lists."""

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from rnnjax.experiments.cli._streams import ended, open_streams, silenced, waiting

_INTERRUPTED = 130
_AGAIN = 0.02  # seconds after which an interrupt that was lost is raised again
_SOON = 0.2  # seconds after the start of Python and JAX, so that the first line takes below one
_LIGHT = ("-h", "--help", "--version", "tasks", "doctor")  # what is soon done


def main() -> None:
    """Run the command line."""
    open_streams()
    sys.exit(_interruptible(_with_output, sys.argv[1:]))


def _with_output(arguments: Sequence[str]) -> int:
    if "--quiet" not in arguments:
        return ended(lambda: _run(arguments))
    with silenced():
        return ended(lambda: _run(arguments))


def _interruptible(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a command; Ctrl-C ends it with 130, a second one without any cleaning up.

    The first raises a KeyboardInterrupt, which some imports turn into other errors, and which is
    lost during a garbage collection, where JAX has a callback: it is raised again a little later,
    which is not a second one. Training replaces the handler by its own.
    """
    pressed = raised_again = over = False
    timer, hook = None, sys.unraisablehook

    def on_interrupt(*_: object) -> None:
        nonlocal pressed, raised_again
        by_timer, raised_again = raised_again, False
        if by_timer and (pressed or over):
            return
        if pressed:
            os._exit(_INTERRUPTED)
        pressed = True
        raise KeyboardInterrupt

    def raise_again() -> None:
        nonlocal raised_again
        raised_again = True
        _thread.interrupt_main()

    def on_lost(lost: Any) -> None:
        nonlocal pressed, timer
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            hook(lost)
            return
        if timer is not None:
            timer.cancel()
        timer = threading.Timer(_AGAIN, raise_again)
        timer.daemon = True
        timer.start()
        pressed = False  # until here another one ends at once, so that none is lost

    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, on_interrupt)
    sys.unraisablehook = on_lost
    try:
        code = command(arguments)
    except BaseException:
        if not pressed:
            raise
        return _INTERRUPTED
    finally:
        over = True
        sys.unraisablehook = hook
        if timer is not None:
            timer.cancel()
            timer.join()  # what it raises comes before this ends
    return _INTERRUPTED if pressed and code else code


def _run(arguments: Sequence[str]) -> int:
    quiet = "--quiet" in arguments or not arguments or arguments[0] in _LIGHT
    try:
        with waiting("rnnjax: loading the tasks", _SOON, quiet):
            from rnnjax.experiments.cli._app import run

            if not quiet:
                import rnnjax.experiments.training  # noqa: F401, what all other commands need
        return run(arguments)
    except ImportError as error:
        package = (error.name or "").split(".")[0]
        if package not in ("typer", "rich"):
            raise
        raise SystemExit(
            f"rnnjax: the command line needs {package}: pip install 'rnnjax[cli,tasks]'"
        ) from None


__all__ = ["main"]
