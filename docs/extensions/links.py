"""Names in running text become links: to the reference, or to that of other projects.

`unroll`, `flow.paths` or `jax.lax.scan` set as code on any page leads to what describes it; in a
docstring the names of its own package do too. So do types in signatures.
"""

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.ext.intersphinx import InventoryAdapter
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

PACKAGES = (
    "rnnjax",
    *(f"rnnjax.{name}" for name in (
        "cells", "cells.initializers", "cells.linear_algebra", "combinators", "extend", "flow",
        "gradients", "interop", "methods", "online", "saving", "scenarios", "unrolling", "tasks",
        "training",
    )),
    *(f"rnnjax.experiments.{name}" for name in ("data", "report", "tasks", "training")),
)  # fmt: skip
_NAME = re.compile(r"([A-Za-z_][\w.]*)(?:\(.*\))?", re.DOTALL)
_SHORT = {"jnp.": "jax.numpy.", "lax.": "jax.lax.", "np.": "numpy.", "nnx.": "flax.nnx.",
          "linen.": "flax.linen."}  # fmt: skip
_ELSEWHERE = {"Array": "jax.Array", "Path": "pathlib.Path"}


def setup(app: Any) -> dict[str, bool]:
    """Add the links when the pages are written."""
    app.add_post_transform(_LinkNames)
    app.add_post_transform(_LinkTypes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _objects(app: Any) -> dict[str, Any]:
    return app.env.domains.python_domain.objects


@cache
def public_names() -> dict[str, Any]:
    """Every public object by each of the names that it can be reached by."""
    found: dict[str, Any] = {}
    for package in PACKAGES:
        module = import_module(package)
        for name in getattr(module, "__all__", None) or dir(module):
            if not name.startswith("_"):
                found[f"{package}.{name}"] = getattr(module, name)
    return found


def _described(app: Any, name: str) -> str | None:
    """The name under which the reference describes what this name means."""
    objects = _objects(app)
    if name in objects:
        return name
    value = public_names().get(name)
    if not callable(value) and not isinstance(value, dict):
        return None  # numbers and strings may be equal by chance
    return next(
        (other for other, same in public_names().items() if same is value and other in objects),
        None,
    )


class _LinkNames(SphinxPostTransform):
    """A literal that is a name leads to what it names."""

    default_priority = 100

    def run(self, **kwargs: Any) -> None:
        del kwargs
        for node in list(self.document.findall(nodes.literal)):
            if _within(node, (nodes.reference, nodes.title, nodes.Titular, addnodes.pending_xref)):
                continue
            match = _NAME.fullmatch(node.astext())
            reference = match and self._reference(node, match[1])
            if reference:
                reference["classes"].append("name")
                node.replace_self(reference)

    def _reference(self, node: nodes.literal, name: str) -> nodes.reference | None:
        scope, own = _scope(node)
        prefixes = (f"{scope}.", "rnnjax.", "rnnjax._types.", "rnnjax.interop.", "")
        if not scope:  # a page, on which `record` and `paths` mean those of the laboratory
            prefixes = ("rnnjax.", "rnnjax.flow.", "rnnjax.interop.", "")
        for candidate in (prefix + name for prefix in prefixes):
            described = candidate.strip(".") and _described(self.app, candidate)
            if described and described != own:
                entry = _objects(self.app)[described]
                copy = node.deepcopy()
                builder, page = self.app.builder, self.env.docname
                return make_refnode(builder, page, entry.docname, entry.node_id, copy, described)
        if (page := _pages_of_modules().get(name)) and page != self.env.docname:
            uri = self.app.builder.get_relative_uri(self.env.docname, page)
            return nodes.reference("", "", node.deepcopy(), internal=True, refuri=uri)
        return _outside(self.app, name, node.deepcopy())


@cache
def _pages_of_modules() -> dict[str, str]:
    """The page of the reference on whose headings a module is named."""
    pages: dict[str, str] = {}
    for path in sorted((Path(__file__).parents[1] / "api").glob("*.md")):
        for module in re.findall(r"(?m)^#+ .*`(rnnjax\.[\w.]+)`$", path.read_text("utf-8")):
            pages.setdefault(module, f"api/{path.stem}")
    return pages


def _outside(app: Any, name: str, content: nodes.Node) -> nodes.reference | None:
    for short, full in _SHORT.items():
        if name.startswith(short):
            name = full + name.removeprefix(short)
    for kind, entries in InventoryAdapter(app.env).main_inventory.items():
        if kind.startswith("py:") and name in entries:
            found = entries[name]
            return nodes.reference(
                "",
                "",
                content,
                internal=False,
                refuri=found.uri,
                reftitle=f"in {found.project_name}",
            )
    return None


def _scope(node: nodes.Node) -> tuple[str, str]:
    """The module of the description that a node stands in, and what is described."""
    while node is not None:
        if isinstance(node, addnodes.desc) and node["domain"] == "py":
            signature = node.next_node(addnodes.desc_signature)
            return signature.get("module") or "", signature["ids"][0] if signature["ids"] else ""
        node = node.parent
    return "", ""


def _within(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


class _LinkTypes(SphinxPostTransform):
    """Types in signatures are written as in the source: `Cell`, `Array`."""

    default_priority = 4  # before Sphinx looks for every class of that name

    def run(self, **kwargs: Any) -> None:
        del kwargs
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node["refdomain"] == "py" and _within(node, (addnodes.desc_signature,)):
                node.replace_self(self._reference(node) or node.children)

    def _reference(self, node: addnodes.pending_xref) -> nodes.reference | None:
        name, content = node["reftarget"], node.children[0]
        scope = _scope(node)[0] or "rnnjax"
        modules = scope, "rnnjax", "rnnjax._types", "rnnjax.training", "rnnjax.tasks"
        for module in modules:
            if described := _described(self.app, f"{module}.{name}"):
                entry = _objects(self.app)[described]
                page = self.env.docname
                return make_refnode(
                    self.app.builder, page, entry.docname, entry.node_id, content, described
                )
        return _outside(self.app, _ELSEWHERE.get(name, name), content)
