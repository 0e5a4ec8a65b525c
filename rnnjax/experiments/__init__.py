"""What one runs rather than imports: data, tasks, training, reports and the command line."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnnjax.experiments import cli, data, illustrate, report, tasks, training

__all__ = ["cli", "data", "illustrate", "report", "tasks", "training"]


def __getattr__(name: str) -> object:
    """Import a part when it is first asked for: each needs packages of its own."""
    if name in __all__:
        return import_module(f"rnnjax.experiments.{name}")
    raise AttributeError(f"module 'rnnjax.experiments' has no attribute {name!r}")
