"""The command line, in this process and as a user starts it."""

import contextlib
import io
import os
import re
import subprocess
import sys
from typing import NamedTuple

from rnnjax.experiments.cli import _app, main

ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "RNNJAX_"))}
ENVIRONMENT["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # as in the rest of the suite


_WAITING = re.compile(r"^.*: (loading|reading) the \w+ …( \d+ s)?\n", re.MULTILINE)  # if slow


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run(*arguments) -> Done:
    """Run a command in this process, which has JAX loaded and keeps what it compiles."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = _app.run([str(argument) for argument in arguments])
    return Done(code, stdout.getvalue(), _WAITING.sub("", stderr.getvalue()))


def run_main(*arguments) -> Done:
    """Run a command in this process by its entry point."""
    stdout, stderr = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["rnnjax", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
        said = "" if isinstance(ended.code, int) else f"{ended.code}\n"
    finally:
        sys.argv = before
    return Done(code, stdout.getvalue(), _WAITING.sub("", stderr.getvalue()) + said)


def command(*arguments):
    return [sys.executable, "-m", "rnnjax.experiments.cli", *map(str, arguments)]


def run_process(*arguments, **options):
    """Run a command in a process of its own."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
        **options,
    )
    done.stderr = _WAITING.sub("", done.stderr)
    return done
