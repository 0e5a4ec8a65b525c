"""The illustrated pages, made when the site is built.

`<!-- illustrated: lstm gru -->` on a page puts them there in a frame, with links to each alone.
"""

import html
import re
from pathlib import Path
from typing import Any

from docutils import nodes

_MARK = re.compile(r"<!-- illustrated: ([\w ]+) -->")
_FOLDER = "illustrations"


def setup(app: Any) -> dict[str, bool]:
    """Replace the marks, and write the pages beside the site."""
    app.connect("doctree-read", _on_read)
    app.connect("build-finished", _on_finished)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _on_read(app: Any, doctree: nodes.document) -> None:
    del app
    for node in list(doctree.findall(nodes.raw)):
        if match := _MARK.fullmatch(node.astext().strip()):
            names = match[1].split()
            links = "\n".join(
                f'<a href="{_FOLDER}/{name}.html" target="illustrated">{html.escape(name)}</a>'
                for name in names
            )
            frame = (
                f'<nav class="illustrated" aria-label="Cells">{links}\n'
                f'<a href="{_FOLDER}/{names[0]}.html" class="alone">full window</a></nav>\n'
                f'<iframe class="illustrated" name="illustrated" title="The illustrated pass" '
                f'src="{_FOLDER}/{names[0]}.html"></iframe>'
            )
            before = node.parent[node.parent.index(node) - 1]
            if isinstance(before.next_node(nodes.image, include_self=True), nodes.image):
                before.parent.remove(before)  # the picture is for where there is no frame
            node.replace_self(nodes.raw("", frame, format="html"))


def _on_finished(app: Any, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    from rnnjax.experiments.illustrate import ILLUSTRATIONS, illustrate

    folder = Path(app.outdir) / _FOLDER
    folder.mkdir(exist_ok=True)
    for name in ILLUSTRATIONS:
        path = folder / f"{name}.html"
        if not path.exists():
            path.write_text(illustrate(_toy(name)), "utf-8")


def _toy(name: str) -> Any:
    import rnnjax

    return getattr(rnnjax, name)(3)
