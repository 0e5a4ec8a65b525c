"""The command line: `rnnjax compare`, `rnnjax doctor`."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from rnnjax.cli._app import app

        app()
    except ImportError as error:
        package = (error.name or "").split(".")[0]
        if package not in ("typer", "rich"):
            raise
        sys.exit(f"rnnjax: the command line needs {package}: pip install 'rnnjax[cli,tasks]'")


__all__ = ["main"]
