"""`rnnjax tasks`: a table of all there are."""

from rnnjax.experiments.cli._results import show_rows
from rnnjax.experiments.tasks import TASKS


def show_tasks() -> None:
    """Print a row for each task."""
    rows = [
        (name, entry.kind, entry.summary, entry.metric, entry.source)
        for name, entry in TASKS.items()
    ]
    show_rows(("task", "kind", "what", "judged by", "source"), rows)
