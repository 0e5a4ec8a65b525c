"""`rnnjax flow`: gradient flow over the training of one run."""

from pathlib import Path

from rnnjax.experiments.cli._output import errors_of
from rnnjax.experiments.cli._printing import say
from rnnjax.experiments.report import write_eigenvalues, write_watch
from rnnjax.experiments.training import CONFIG, read_config
from rnnjax.flow import read_watch


def draw_flow(run: Path, out: Path, eigenvalues: bool = False) -> None:
    """Draw what was measured during a run into a file; exits with 2 on wrong use."""
    with errors_of("flow"):
        watched = read_watch(run)
        out.parent.mkdir(parents=True, exist_ok=True)
        written = (write_eigenvalues if eigenvalues else write_watch)(watched, out)
        _say_which_seed(run)
    say(f"the {'eigenvalues are' if eigenvalues else 'gradient flow is'} in {written}")


def _say_which_seed(run: Path) -> None:
    """Say which of a run's seeds the figure is of, if there are several."""
    settings = read_config(run).get("settings", {}) if (run / CONFIG).is_file() else {}
    if settings.get("seeds", 1) > 1:
        first = settings.get("seed", 0)
        say(
            f"measured on seed {first}, the first of the {settings['seeds']} seeds of this run",
            err=True,
        )
