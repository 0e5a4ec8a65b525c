"""Blocks of names on the pages of docs/api become their reference.

    ```{api} rnnjax.flow
    record gradient_norms verdict
    ```

A page lists the names in the order in which one would read them. Here a table of their first
sentences takes the place of the block, and under it stands what Sphinx makes of each docstring.
"""

import ast
import inspect
import re
import tokenize
from collections.abc import Iterator
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

BLOCK = re.compile(r"^```\{api\} +(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

_CODE = re.compile(r"`(\w+)`")


def documented(text: str) -> Iterator[tuple[str, str]]:
    """The names in the blocks of a page: each with its module."""
    for module, names in BLOCK.findall(text):
        yield from ((module, name) for name in names.split())


def setup(app: Any) -> dict[str, bool]:
    """Replace the blocks when a page is read."""
    app.connect("source-read", _on_source)
    app.connect("autodoc-process-signature", _signature, priority=400)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _on_source(app: Any, page: str, source: list[str]) -> None:
    del app
    if page.startswith("api/"):
        source[0] = BLOCK.sub(lambda found: _reference(found[1], found[2].split()), source[0])


def _reference(module: str, names: list[str]) -> str:
    found = import_module(module)
    entries = "\n".join(_entry(found, module, name) for name in names)
    table = _table(found, module, names) if len(names) > 2 else ""
    return f"{table}\n```{{eval-rst}}\n{entries}\n```"


def _table(found: ModuleType, module: str, names: list[str]) -> str:
    rows = ["| | |", "|---|---|"]
    for name in names:
        text = _CODE.sub(partial(_linked, found), summary_of(found, name).replace("|", r"\|"))
        rows.append(f"| {{py:obj}}`{name} <{module}.{name}>` | {text} |")
    return "\n".join([":::{container} summary", *rows, ":::\n"])


def _linked(found: ModuleType, code: re.Match[str]) -> str:
    """A name of the same module leads to its entry."""
    name = code[1]
    return f"{{py:obj}}`{name} <{found.__name__}.{name}>`" if hasattr(found, name) else code[0]


def summary_of(found: ModuleType, name: str) -> str:
    """The first sentence of what something public says of itself."""
    value = getattr(found, name)
    if not _has_docstring(value):
        return comment_of(found, name)
    text = inspect.getdoc(value) or ""
    if text.startswith(f"{name}("):  # what NamedTuple writes itself
        return f"Of {', '.join(field for field, _, _ in fields_of(value))}."
    return " ".join(text.split("\n\n")[0].split())


def _entry(found: ModuleType, module: str, name: str) -> str:
    value = getattr(found, name)
    if inspect.isclass(value):
        options = [":members:"]
        if Protocol in value.__mro__[1:2]:
            options.append(":special-members: __call__")
        return "\n   ".join([f".. autoclass:: {module}.{name}", *options]) + "\n"
    if callable(value) and _has_docstring(value):
        return f".. autofunction:: {module}.{name}\n"
    return f".. py:data:: {module}.{name}\n\n   {comment_of(found, name)}\n"


def _has_docstring(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isroutine(inspect.unwrap(value))


@cache
def comment_of(module: ModuleType, name: str) -> str:
    """What stands below the assignment of a constant, as a string, or beside it, as a comment."""
    for path in _files(module):
        for node, after in _statements(ast.parse(path.read_text("utf-8"))):
            if name in _assigned(node):
                match after:
                    case ast.Expr(ast.Constant(str(text))):
                        return inspect.cleandoc(text)
                lines = range(node.lineno, (node.end_lineno or 0) + 1)
                if text := " ".join(_comments(path)[n][1] for n in lines if n in _comments(path)):
                    return text
    raise ValueError(f"{module.__name__}.{name} is public and nothing beside it says what it is")


def _statements(tree: ast.Module) -> Iterator[tuple[ast.stmt, ast.stmt | None]]:
    """Each statement of a module and of its top-level conditions, with the one after it."""
    bodies = [tree.body]
    bodies += [
        part for node in tree.body if isinstance(node, ast.If) for part in (node.body, node.orelse)
    ]
    for body in bodies:
        yield from zip(body, [*body[1:], None], strict=True)


def _assigned(node: ast.stmt) -> set[str]:
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return set()
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {
        part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)
    }


def _files(module: ModuleType) -> list[Path]:
    """The files of a package; of `rnnjax.tasks` those that it is another name of."""
    file = Path(str(module.__file__))
    longer = file.parent / "experiments" / file.stem
    folder = longer if longer.is_dir() else file.parent
    return sorted(folder.rglob("*.py"))


@cache
def _comments(path: Path) -> dict[int, tuple[int, str]]:
    with path.open("rb") as file:
        return {
            token.start[0]: (token.start[1], token.string.removeprefix("#").strip())
            for token in tokenize.tokenize(file.readline)
            if token.type == tokenize.COMMENT
        }


def fields_of(value: type) -> list[tuple[str, str, str]]:
    """The fields of a NamedTuple or dataclass: name, type, and the comment beside each."""
    private = [base for base in value.__bases__ if base.__name__.startswith("_")]
    if private and value.__module__.startswith("rnnjax") and hasattr(value, "_fields"):
        value = private[0]  # where `Cell` has its fields
    try:
        path, (_, line) = Path(str(inspect.getsourcefile(value))), inspect.getsourcelines(value)
        (node,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(value))).body
    except (OSError, TypeError, ValueError, SyntaxError):
        return []
    comments, found = _comments(path), []
    for field in getattr(node, "body", []):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        name = field.target.id
        if name.startswith("_") or "ClassVar" in ast.unparse(field.annotation):
            continue
        lines = range(line + field.lineno - 1, line + (field.end_lineno or 0))
        text = " ".join(comments[n][1] for n in lines if n in comments)
        after = lines.stop
        while text and comments.get(after, (0, ""))[0] > 20:  # a comment goes on below
            text, after = f"{text} {comments[after][1]}", after + 1
        found.append((name, ast.unparse(field.annotation), text))
    return found


def _skip(app: Any, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    del app, what, options
    is_field = isinstance(value, property) is False and not callable(value)
    return True if is_field or (name.startswith("_") and name != "__call__") else skip


def _signature(
    app: Any, what: str, name: str, value: Any, options: Any, arguments: str | None, returns: Any
) -> tuple[str, str | None] | None:
    """The signature as the source has it, with the names that it gives to types."""
    del app, name, options
    is_class = what in ("class", "exception")
    if is_class and (fields_of(value) or not inspect.isfunction(value.__init__)):
        return None if arguments is None else ("", None)  # its table of fields says more
    function = value.__init__ if is_class else inspect.unwrap(value)
    try:
        (node,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError):
        return None if arguments is None else (arguments, returns)
    if not isinstance(node, ast.FunctionDef):
        return None if arguments is None else (arguments, returns)
    if (
        (is_class or what == "method")
        and node.args.args
        and node.args.args[0].arg in ("self", "cls")
    ):
        del node.args.args[0]
    result = node.returns and not is_class
    return f"({ast.unparse(node.args)})", ast.unparse(node.returns) if result else None
