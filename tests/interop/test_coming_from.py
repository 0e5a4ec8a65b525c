"""The pages for those who come from another framework: their example runs, and is right."""

import re
import warnings
from pathlib import Path

import jax
import pytest
import random_weights  # noqa: F401  it chooses Keras's backend

PAGES = Path(__file__).parents[2] / "docs" / "coming_from"
PEERS = {
    "pytorch": "torch",
    "flax": "flax",
    "equinox": "equinox",
    "haiku": "haiku",
    "keras": "keras",
}


@pytest.mark.parametrize("name", PEERS)
def test_live_example_checks_equality(name):
    text = (PAGES / f"{name}.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "np.testing.assert_allclose(" in block
    with warnings.catch_warnings(), jax.numpy_rank_promotion("allow"), jax.enable_x64(False):
        warnings.simplefilter("ignore")  # the framework's own
        pytest.importorskip(PEERS[name])
        pytest.importorskip("equinox")  # where the other frameworks are: Flax's loops take long
        namespace = {}
        exec(block, namespace)
    assert namespace["ys"].shape[-1] in (8, 16, 4)


def test_every_function_of_a_page_exists():
    import rnnjax

    for page in PAGES.glob("*.md"):
        column = re.findall(r"^\|[^|]*\|([^|]*)\|$", page.read_text("utf-8"), re.MULTILINE)
        named = re.findall(r"`(\w+)\(", "".join(column))
        missing = [n for n in named if not hasattr(rnnjax, n)]
        assert len(named) > 1
        assert not missing, (page.name, missing)
