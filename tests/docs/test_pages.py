"""The code on the pages of the documentation runs, and is right."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import jax
import numpy as np
import pytest

from rnnjax.cells import FACTORIES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def run_page(name: str, shorter: Mapping[str, str] = MappingProxyType({})) -> dict:
    """Execute every Python block of a page, in order, in one namespace.

    `shorter` are texts to replace, each by one that takes less time.
    """
    text = (ROOT / name).read_text("utf-8")
    for long, short in shorter.items():
        assert long in text
        text = text.replace(long, short)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    namespace: dict = {"__name__": "page"}
    with jax.numpy_rank_promotion("allow"):  # pages write z + b as anyone would
        exec("\n".join(blocks), namespace)
    return namespace


def test_readme_lists_every_cell():
    (listed,) = re.findall(r"\*\*Cells\*\*: (.*?)\. Combinators", README, re.DOTALL)
    assert sorted(re.findall(r"`(\w+)`", listed)) == sorted(FACTORIES)


def test_readme_example_runs():
    namespace = run_page("README.md")
    assert np.isfinite(float(namespace["value"]))


def test_in_your_model(eager):
    page = run_page("docs/in_your_model.md")
    np.testing.assert_array_equal(page["same_params"].cell.w_x, page["params"].cell.w_x)
    np.testing.assert_array_equal(page["lengths_again"], page["lengths"])
    valid = np.arange(10)[:, None, None] < np.asarray(page["lengths"])[:, None]
    np.testing.assert_array_equal(page["xs_again"], np.where(valid, page["xs"], 0))
    assert page["outputs"].shape == (2, 10, 4)


def test_gradient_flow(capsys):
    page = run_page("docs/gradient_flow.md")
    assert page["judged"].label == "vanishes"
    whole = page["found"].recording.carry_ct.c
    np.testing.assert_allclose(sum(p.carry_ct.c for p in page["found"].parts.values()), whole)
    assert 0 < np.median(page["along"][0]) < np.median(page["along"][-1])
    omega = ((np.asarray(page["ratios"]) - 1) ** 2).sum(axis=0)
    np.testing.assert_allclose(page["omega"], omega)
    assert len(page["remembered"]) >= 1
    assert page["watched"].steps.tolist() == [0, 100]
    assert page["watched"].values["open_f"].shape == (2,)
    assert page["single"].shape == (30, 4, 16, 16)
    printed = capsys.readouterr().out.split("\n", 1)
    assert printed[0].startswith("float64 ")
    assert printed[1].startswith("dtype")
    assert page["digits"].errors["bfloat16"].shape == (30, 4)
    assert page["loss"] > 1e-3
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(page["grads"]))


@pytest.fixture(scope="module")
def scenarios_page():
    return run_page("docs/scenarios.md")


def test_forced_captions_are_what_the_steps_predict(scenarios_page):
    page = scenarios_page
    model, words = page["captioner"], page["words"]
    params = model.init(page["key"], page["feature"], words)
    state = model.begin(params, page["feature"])
    with jax.numpy_rank_promotion("allow"):
        for t in range(len(words)):
            state, logits = model.step(params, state, words[t])
            np.testing.assert_allclose(logits, page["forced"][t], rtol=1e-10, atol=1e-12)


def test_attention_on_the_page_looks_at_valid_words_only(scenarios_page):
    where, lengths = np.asarray(scenarios_page["where"]), np.asarray(scenarios_page["lengths"])
    np.testing.assert_allclose(where.sum(-1), 1, rtol=1e-10)
    for b, length in enumerate(lengths):
        assert np.all(where[:, b, length:] == 0)
        assert np.all(where[:, b, :length] > 0)


def test_written_words_stop_at_the_end(scenarios_page):
    written = scenarios_page["written"]
    tokens, lengths = np.asarray(written.tokens), np.asarray(written.lengths)
    for b, length in enumerate(lengths):
        assert np.all(tokens[: length - 1, b] != 0)
        assert np.all(tokens[length:, b] == 0)
    assert np.isfinite(float(scenarios_page["nats"]))
