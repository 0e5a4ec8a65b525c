"""Inventories of what the pages link to in other projects, so that a build needs no network."""

import zlib
from pathlib import Path

Mapping = dict[str, tuple[str, str]]


def write_inventories(sources: Path, folder: Path) -> Mapping:
    """Make an `objects.inv` of each text file; what `intersphinx_mapping` needs.

    The first line of a file is the address of the documentation; each other line is a name, its
    kind, and the page that describes it. A page that ends in `#` is completed by the name.
    """
    mapping: Mapping = {}
    for source in sorted(sources.glob("*.txt")):
        target = folder / source.stem / "objects.inv"
        target.parent.mkdir(parents=True, exist_ok=True)
        address, _, rest = source.read_text("utf-8").partition("\n")
        target.write_bytes(_inventory(source.stem, rest))
        mapping[source.stem] = (address, str(target))
    return mapping


def _inventory(project: str, lines: str) -> bytes:
    heads = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
    heads += "# The remainder of this file is compressed using zlib.\n"
    entries: list[str] = []
    for line in filter(None, lines.split("\n")):
        name, kind, page = line.split()
        entries.append(f"{name} py:{kind} 1 {page}{'$' if page.endswith('#') else ''} -\n")
    return heads.encode() + zlib.compress("".join(entries).encode())
