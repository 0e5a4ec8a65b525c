"""`rnnjax tasks` and `rnnjax doctor`: what there is to train, and what is installed."""

import platform
from importlib.metadata import PackageNotFoundError, version

import jax
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnnjax._extras import EXTRAS, missing
from rnnjax._version import __version__
from rnnjax.experiments.cli._output import show_rows
from rnnjax.experiments.cli._printing import printable
from rnnjax.experiments.tasks import TASKS
from rnnjax.methods import AVAILABILITY, instruction_set

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "chex", "numpy")


def show_tasks() -> None:
    """Print a row for each task."""
    rows = [
        (name, entry.kind, entry.summary, entry.metric, entry.source)
        for name, entry in TASKS.items()
    ]
    show_rows(("task", "kind", "summary", "metric", "source"), rows)


def run_doctor() -> None:
    """Print versions, devices, methods and extras."""
    table = Table(show_header=False, box=None, pad_edge=False)

    def add(*cells: str) -> None:
        table.add_row(*(Text(printable(cell)) for cell in cells))  # brackets are no markup

    add("rnnjax", __version__)
    add("Python", f"{platform.python_version()} on {platform.platform()}")
    for package in _PACKAGES:
        add(package, _version_of(package))
    add("devices", ", ".join(map(str, jax.devices())))
    x64 = "on" if jax.config.values["jax_enable_x64"] else "off"
    add("x64", f"{x64}: the default float is {jax.numpy.result_type(float)}")
    for name, why_not in AVAILABILITY.items():
        reason = why_not()
        state = "available" if reason is None else f"no: {reason}"
        if name == "native" and reason is None:
            state += f", for {instruction_set()}"
        add(f"method {name}()", state)
    for extra in EXTRAS:
        lacking = missing(extra)
        state = "installed"
        if lacking:
            state = f"{', '.join(lacking)} missing: pip install 'rnnjax[{extra}]'"
        add(f"extra {extra}", state)
    Console().print(table)


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
