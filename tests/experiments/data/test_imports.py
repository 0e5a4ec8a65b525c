"""No file of the data package imports JAX, neither directly nor through rnnjax."""

import ast
from pathlib import Path

import pytest

import rnnjax.experiments.data

FOLDER = Path(rnnjax.experiments.data.__file__).parent
ROOT = FOLDER.parents[1]
FORBIDDEN = {"jax", "jaxlib", "flax", "optax", "chex"}
ALLOWED_FROM_RNNJAX = (
    "rnnjax._arguments",
    "rnnjax._extras",
    "rnnjax._files",
    "rnnjax._names",
    "rnnjax.experiments._effects",
    "rnnjax.experiments._memory",
    "rnnjax.experiments._order",
    "rnnjax.experiments._parsing",
    "rnnjax.experiments.data",
)


def imports_of(path):
    """The modules that a file imports, anywhere in it; a relative import as '.'."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module if node.level == 0 else ".")
    return found


def is_allowed(module):
    if module.split(".")[0] == "rnnjax":
        return any(module == one or module.startswith(one + ".") for one in ALLOWED_FROM_RNNJAX)
    return module != "." and module.split(".")[0] not in FORBIDDEN


@pytest.mark.parametrize(
    "path",
    [
        *(
            ROOT / f"{module.removeprefix('rnnjax.').replace('.', '/')}.py"
            for module in ALLOWED_FROM_RNNJAX[:-1]
        ),
        *sorted(FOLDER.rglob("*.py")),
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_file_imports_jax(path):
    assert [module for module in sorted(imports_of(path)) if not is_allowed(module)] == []


def test_the_rule_finds_what_it_forbids():
    for module in ("jax", "jax.numpy", "flax.linen", "rnnjax._checks", "rnnjax", "rnnjax.cells"):
        assert not is_allowed(module)
    assert not is_allowed("rnnjax.experiments.tasks")
    assert {"ast", "pathlib", "pytest"} < imports_of(Path(__file__))
