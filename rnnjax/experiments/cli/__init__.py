"""The command line: `rnnjax train`, `rnnjax compare`, and the rest that `rnnjax --help` lists."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from rnnjax.experiments.cli._app import run

        sys.exit(run(sys.argv[1:]))
    except ImportError as error:
        package = (error.name or "").split(".")[0]
        if package not in ("typer", "rich"):
            raise
        sys.exit(f"rnnjax: the command line needs {package}: pip install 'rnnjax[cli,tasks]'")


__all__ = ["main"]
