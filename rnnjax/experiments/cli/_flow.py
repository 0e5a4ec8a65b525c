"""`rnnjax flow`: gradient flow over the training of one run."""

from pathlib import Path

from rnnjax.experiments.cli._output import errors_of
from rnnjax.experiments.cli._printing import say
from rnnjax.experiments.report import write_eigenvalues, write_watch
from rnnjax.flow import read_watch


def draw_flow(run: Path, out: Path, eigenvalues: bool = False) -> None:
    """Draw what was measured during a run into a file; exits with 2 on wrong use."""
    with errors_of("flow"):
        watched = read_watch(run)
        out.parent.mkdir(parents=True, exist_ok=True)
        written = (write_eigenvalues if eigenvalues else write_watch)(watched, out)
    say(f"the {'eigenvalues are' if eigenvalues else 'gradient flow is'} in {written}")
