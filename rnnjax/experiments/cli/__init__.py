"""The command line: `rnnjax train`, `rnnjax compare`, and the rest that `rnnjax --help` lists."""

import sys
from collections.abc import Sequence

from rnnjax.experiments.cli._streams import ended, open_streams, silenced, waiting

_INTERRUPTED = 130
_SOON = 0.2  # seconds after the start of Python and JAX, so that the first line takes below one
_LIGHT = ("-h", "--help", "--version", "tasks", "doctor")  # what is soon done


def main() -> None:
    """Run the command line."""
    open_streams()
    arguments = sys.argv[1:]
    try:
        if "--quiet" in arguments:
            with silenced():
                code = ended(lambda: _run(arguments))
        else:
            code = ended(lambda: _run(arguments))
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(code)


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
