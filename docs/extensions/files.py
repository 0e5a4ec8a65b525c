"""Links to files of the repository that are no pages, such as examples and skeletons.

Files of code get a listing within the site; README, LICENSE and the like are pages under another
name; a folder is linked to where the repository is published, if it is.
"""

import html
from collections.abc import Iterator
from pathlib import Path
from posixpath import normpath, relpath
from typing import Any

from docutils import nodes
from pygments.lexers import get_lexer_for_filename
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

_ROOT = Path(__file__).parents[2]
_PAGES = {
    "README.md": "index",
    "LICENSE": "license",
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
}


def setup(app: Any) -> dict[str, bool]:
    """Replace the links when pages are written, and add the listings."""
    app.add_post_transform(_LinkFiles)
    app.connect("html-collect-pages", _listings)
    return {"parallel_read_safe": True, "parallel_write_safe": False}


class _LinkFiles(SphinxPostTransform):
    default_priority = 4  # before MyST misses pages of these names

    def run(self, **kwargs: Any) -> None:
        del kwargs
        for node in list(self.document.findall(_is_link)):
            path = _file(self.env.docname, node["reftarget"])
            if path is not None:
                uri = self._uri(relpath(path, _ROOT), path)
                new = nodes.reference("", "", *node.children, refuri=uri)
                node.replace_self(new if uri else node.children)

    def _uri(self, target: str, path: Path) -> str | None:
        builder, page = self.app.builder, self.env.docname
        if target in _PAGES:
            return builder.get_relative_uri(page, _PAGES[target])
        if path.is_file():
            _wanted(self.app).add(target)
            return builder.get_relative_uri(page, f"listings/{target}")
        options = self.config.html_theme_options
        url = options.get("repository_url")
        return url and f"{url}/tree/{options['repository_branch']}/{target}"


def _is_link(node: nodes.Node) -> bool:
    is_myst = isinstance(node, addnodes.pending_xref) and node["reftype"] == "myst"
    is_page = is_myst and node["refdomain"] == "doc"  # results.md, beside a folder of that name
    return (is_myst and not is_page) or isinstance(node, addnodes.download_reference)


def _file(page: str, target: str) -> Path | None:
    """The file or folder of the repository that a link on a page means."""
    target = target.partition("#")[0]
    path = Path(normpath(_ROOT / "docs" / Path(page).parent / target))
    if page in ("contributing", "changelog") and not path.exists():
        path = _ROOT / target  # they stand in the root of the repository
    if not target or not path.exists() or (path.suffix == ".md" and path.name not in _PAGES):
        return None
    return path


def _wanted(app: Any) -> set[str]:
    """The files that pages link to; kept with what is known of the pages."""
    if not hasattr(app.env, "rnnjax_listings"):
        app.env.rnnjax_listings = set()
    return app.env.rnnjax_listings


def _listings(app: Any) -> Iterator[tuple[str, dict[str, str], str]]:
    for target in sorted(_wanted(app)):
        text = (_ROOT / target).read_text("utf-8")
        language = get_lexer_for_filename(target).aliases[0]
        code = app.builder.highlighter.highlight_block(text, language, linenos=False)
        title = html.escape(Path(target).name)
        body = f"<h1>{title}</h1><p><code>{html.escape(target)}</code></p>{code}"
        yield f"listings/{target}", {"title": title, "body": body}, "page.html"
