"""The site is complete: every public name has its reference, every page its place."""

import importlib.util
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PACKAGES = [
    *(f"rnnjax.{name}" for name in (
        "cells", "cells.initializers", "cells.linear_algebra", "combinators", "extend", "flow",
        "gradients", "interop", "interop.equinox", "interop.linen", "interop.nnx", "methods",
        "online", "saving", "scenarios", "unrolling",
    )),
    *(f"rnnjax.experiments.{name}" for name in (
        "cli", "data", "data.audio", "data.captions", "data.images", "data.series", "data.text",
        "illustrate", "report", "tasks", "tasks.captions", "tasks.forecasting", "tasks.images",
        "tasks.spoken", "tasks.synthetic", "tasks.text", "training",
    )),
]  # fmt: skip


def _extension(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / "extensions" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def api() -> ModuleType:
    return _extension("api")


Described = list[tuple[ModuleType, str]]


@pytest.fixture(scope="module")
def described(api) -> Described:
    """The modules and names in the blocks of docs/api, without what is not installed here."""
    found: Described = []
    for page in sorted((DOCS / "api").glob("*.md")):
        for module, name in api.documented(page.read_text("utf-8")):
            if not (module.endswith(".equinox") and importlib.util.find_spec("equinox") is None):
                found.append((import_module(module), name))
    return found


def _public(module: ModuleType) -> list[str]:
    names = getattr(module, "__all__", None) or {*vars(module)} - {"TYPE_CHECKING", "import_module"}
    return sorted(
        name for name in names
        if not name.startswith("_") and not isinstance(getattr(module, name), ModuleType)
    )  # fmt: skip


@pytest.mark.parametrize("package", ["rnnjax", *PACKAGES])
def test_every_public_name_has_its_reference(described, package):
    if package.endswith(".equinox"):
        pytest.importorskip("equinox")
    module = import_module(package)
    values = [getattr(where, name) for where, name in described]
    missing = [
        name for name in _public(module)
        if not any(getattr(module, name) is value for value in values)
    ]  # fmt: skip
    assert missing == [], f"name them on a page of docs/api, in a block {{api}} {package}"


def test_no_name_is_described_twice(described):
    values = [getattr(where, name) for where, name in described]
    twice = [
        name for (_, name), value in zip(described, values, strict=True)
        if callable(value) and sum(value is other for other in values) > 1
    ]  # fmt: skip
    assert twice == []


def test_everything_public_says_what_it_is(api, described):
    for where, name in described:
        assert api.summary_of(where, name), (where, name)


def _placed(page: Path) -> Iterator[Path]:
    """The pages that the tables of contents reach from a page, itself first."""
    yield page
    text = page.read_text("utf-8")
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        entries = [line for line in block.split("\n") if line and not line.startswith(":")]
        found = {entry: sorted(page.parent.glob(f"{entry}.md")) for entry in entries}
        missing = [entry for entry, paths in found.items() if not paths and "*" not in entry]
        assert missing == [], f"{page.name} names pages that are not there"
        for path in dict.fromkeys(path for paths in found.values() for path in paths):
            if path != page:
                yield from _placed(path)


def test_every_page_has_its_place():
    pages = {path for path in DOCS.rglob("*.md") if "_build" not in path.parts}
    placed = [*_placed(DOCS / "index.md")]
    assert sorted(pages - {*placed}) == []
    assert len(placed) == len({*placed})
