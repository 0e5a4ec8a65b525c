"""The example scripts run in their short form, and print what they should."""

import re
import runpy
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from rnnjax.experiments import report, training
from rnnjax.experiments.data import picture

EXAMPLES = Path(__file__).parents[2] / "examples"
LONGEST = 90  # lines

# script -> what it prints: a pattern whose group is a figure, and the range that it lies in
FIGURES = {
    "clipping": (r"by global norm +(\d+)%", -1, 101),
    "clipping_wall": (r"clipped .*, loss at the end ([\d.]+)", 0.0004, 0.0006),
    "flossing": (r"Gaussian, flossed: accuracies \[([\d.]+)\] %", 40, 60),
    "parity": (r"accuracy on 1000 bits: ([\d.]+)%", 90, 100.01),
    "series": (r"mean absolute error: ([\d.]+)", 0.001, 0.5),
    "captioning": (r"BLEU-1 and BLEU-4: ([\d.]+),", -0.01, 60),
    "language": (r"held-out nats per character: ([\d.]+)", 0.1, 0.9),
    "sentiment": (r"held-out accuracy: ([\d.]+)%", 90, 100.01),
    "flow_figures": (r"float32 +([\d.e+-]+)", 0, 1e-5),
    "regularizer": (r"Ω fell from [\d.]+ to ([\d.]+)", 0, 0.8),
    "predictability": (r"iterations \[\d+ +(\d+)\]", 3, 9),
    "fixed_points": (r"fixed points: \d+, of them stable: (\d+)", 7.5, 8.5),
    "speech": (r"label error rate: ([\d.]+)", 0.1, 3.0),
}


def short_run(name, monkeypatch, capsys, *flags):
    path = EXAMPLES / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), "--short", *map(str, flags)])
    runpy.run_path(str(path), run_name="__main__")
    return capsys.readouterr().out


def assert_metric(name, printed):
    pattern, low, high = FIGURES[name]
    found = re.search(pattern, printed)
    assert found, printed
    assert low < float(found[1]) < high


DRAWN = ("clipping", "clipping_wall", "fixed_points", "flossing", "predictability", "regularizer")


@pytest.mark.parametrize("name", sorted(FIGURES.keys() - {"captioning", "flow_figures", *DRAWN}))
def test_the_short_form_prints_its_metric(name, monkeypatch, capsys):
    assert_metric(name, short_run(name, monkeypatch, capsys))


@pytest.mark.parametrize("name", DRAWN)
def test_the_short_form_prints_its_metric_and_draws(name, tmp_path, monkeypatch, capsys):
    printed = short_run(name, monkeypatch, capsys, "--out", tmp_path / "drawn.png")
    assert_metric(name, printed)
    assert np.asarray(Image.open(tmp_path / "drawn.png")).std() > 10


def test_figures_of_gradient_flow_are_drawn(tmp_path, monkeypatch, capsys):
    printed = short_run("flow_figures", monkeypatch, capsys, "precision", "--out", tmp_path)
    assert_metric("flow_figures", printed)
    assert np.asarray(Image.open(tmp_path / "precision.png")).std() > 10


def test_captioning_prints_its_metric_and_draws_references_and_attention(
    tmp_path, monkeypatch, capsys
):
    rows = []
    write = report.write_captions
    monkeypatch.setattr(
        report, "write_captions", lambda *given: rows.extend(given[0]) or write(*given)
    )
    printed = short_run("captioning", monkeypatch, capsys, "--figure", tmp_path / "looked")
    assert_metric("captioning", printed)
    assert f"the attention maps are in {tmp_path / 'looked.png'}" in printed
    assert np.asarray(Image.open(tmp_path / "looked.png")).std() > 10
    for number, row in enumerate(rows):
        shown = picture(number, part="combinations", side=16)
        np.testing.assert_array_equal(row.image, shown.image)
        assert row.references == shown.scene.sentences
        assert len(row.attention) == len(row.caption.split()) + 1
        assert f"caption: {row.caption}\n  reference: {row.references[0]}" in printed
    assert len(rows) == 2


def untrained(task, settings):
    """In the place of `fit` where it is not trained params that are looked at."""
    draw = np.random.default_rng(0)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: draw.normal(size=leaf.shape).astype(leaf.dtype), shapes)
    return SimpleNamespace(params=params, metrics=defaultdict(float))


def test_captioning_of_a_folder_of_images(tmp_path, monkeypatch, capsys):
    rows = []
    monkeypatch.setattr(training, "fit", untrained)  # on a folder: see the tests of the task
    monkeypatch.setattr(report, "write_captions", lambda given, path: rows.extend(given) or path)
    images = [picture(number, side=16).image for number in range(12)]
    lines = [f"{k:02}.png,a thing in the picture" for k in range(12)]
    for k, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{k:02}.png")
    (tmp_path / "captions.txt").write_text("image,caption\n" + "\n".join(lines) + "\n", "utf-8")
    flags = ("--data", tmp_path, "--figure", tmp_path / "x.png")
    printed = short_run("captioning", monkeypatch, capsys, *flags)
    assert len(re.findall("^caption: ", printed, re.M)) == 2
    assert "reference: " not in printed
    for row, image in zip(rows, images, strict=False):
        np.testing.assert_array_equal(row.image, image)
        assert row.references == ()
    assert len(rows) == 2


def test_every_example_is_tested_and_short():
    scripts = {path.stem: path for path in EXAMPLES.glob("*.py")}
    assert set(scripts) == set(FIGURES)
    for path in scripts.values():
        assert len(path.read_text("utf-8").splitlines()) < LONGEST
