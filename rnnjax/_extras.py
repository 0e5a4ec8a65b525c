"""Optional packages, imported where they are needed, with an error that says what to install."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

EXTRAS: dict[str, tuple[str, ...]] = {
    "cli": ("typer", "rich", "matplotlib"),
    "tasks": ("datasets", "grain", "PIL", "sacrebleu", "sklearn", "tokenizers"),
    "training": ("rich", "tensorboardX", "tomli_w"),
}


def optional(module: str) -> Any:
    """Import `module`; without it, raise ImportError naming the extra that brings it."""
    package = module.split(".")[0]
    extra = next(extra for extra, packages in EXTRAS.items() if package in packages)
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ImportError(
            f"{package} is not installed: pip install 'rnnjax[{extra}]'", name=package
        ) from None


def missing(extra: str) -> list[str]:
    """The packages of an extra that are not installed."""
    return [package for package in EXTRAS[extra] if find_spec(package) is None]
