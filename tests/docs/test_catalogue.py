"""The catalogue of cells is what docstrings and cells say now."""

import json
import math
import re
from pathlib import Path

import jax
import pytest

from benchmarks.catalogue import FACTORIES, catalogue, example, measure, shapes
from rnnjax.combinators import COMBINATORS
from rnnjax.methods import AVAILABILITY

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "catalogue.md").read_text("utf-8")
MEASURED = json.loads((DOCS / "catalogue.json").read_text("utf-8"))
SECTIONS = {text.split("\n")[0]: text for text in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]}


@pytest.mark.skipif(AVAILABILITY["native"]() is not None, reason="it asks native() what it runs")
def test_the_page_is_made_of_what_the_code_says():
    assert catalogue(MEASURED) == PAGE, (
        "write it again: python -m benchmarks catalogue --cells none"
    )


def test_every_cell_and_combinator_is_there():
    assert {*SECTIONS} == {*FACTORIES, *COMBINATORS}
    assert {*MEASURED} == {*FACTORIES}
    for name in FACTORIES:
        assert "```text" in SECTIONS[name], f"the docstring of {name} has no equations"
        assert "- **Source**: " in SECTIONS[name], f"the docstring of {name} has no references"


@pytest.mark.parametrize("name", FACTORIES)
def test_sizes_that_the_source_states_are_those_of_the_arrays(name):
    params, carry, tape = shapes(*example(name))
    fields = re.findall(r"^\| `(\w+)\.(\w+)` \| `\[(.*?)\]`", SECTIONS[name], re.MULTILINE)
    assert len(fields) >= len(params) + 1
    for owner, field, shape in fields:
        value = getattr({"params": params, "carry": carry}[owner], field)
        if value is not None:
            stated = [valued(part) for part in shape.split(", ") if part not in ("...", "")]
            assert tuple(stated) == value.shape, (owner, field)
    words = re.search(r"\*\*Tape\*\*: ([^;]*?) (complex )?numbers for each example", SECTIONS[name])
    if words:
        width = 16 if words[2] else 8
        alpha = 8 if name == "ctrnn" else 0  # one number whatever the width
        found = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tape))
        assert valued(words[1]) * width + alpha == found


SIZES = {"D": 16, "P": 16, "H": 32, "N": 32, "K": 32, "V": 32, "E": 1}
SIZES |= {"kh": 3, "kw": 3, "C": 2, "F": 4, "height": 8, "width": 8}


def valued(text):
    """The number that `4H`, `E*K` or `K V + 2K + 1` stands for."""
    total = 0
    for term in text.split(" + "):
        factors = re.findall(r"[A-Za-z]+|\d+", term)
        assert factors, text
        total += math.prod(int(f) if f.isdigit() else SIZES[f] for f in factors)
    return total


def test_gradient_flow_is_what_is_measured():
    assert measure("identity_rnn") == MEASURED["identity_rnn"]
    assert MEASURED["identity_rnn"] == {"label": "constant", "half_life": None, "lyapunov": 0.0}
