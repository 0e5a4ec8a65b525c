import json
import math
from typing import NamedTuple

import numpy as np
import pytest

from rnnjax.experiments.data import digits
from rnnjax.experiments.report import write_figures, write_json
from rnnjax.experiments.report._style import LOOKS
from rnnjax.experiments.training import CONTENDERS, ComparisonSettings, train_and_measure


class Point(NamedTuple):
    at: np.ndarray
    size: float


def test_json_is_strict_and_whole(tmp_path):
    path = tmp_path / "metrics.json"
    content = {"p": Point(np.array([1.0, np.nan]), math.inf), "n": (np.float32(2), -np.inf, True)}
    write_json(path, content)

    def refuse(name):
        raise AssertionError(name)

    read = json.loads(path.read_text("utf-8"), parse_constant=refuse)
    assert read == {"p": {"at": [1.0, None], "size": "inf"}, "n": [2.0, "-inf", True]}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"kept": 1})
    with pytest.raises(TypeError):
        write_json(path, {"lost": object()})
    assert json.loads(path.read_text("utf-8")) == {"kept": 1}


def test_every_contender_has_a_look_of_its_own():
    assert set(LOOKS) == set(CONTENDERS)
    for field in ("label", "color", "dashes", "marker"):
        looks = [getattr(look, field) for look in LOOKS.values()]
        if field == "dashes":  # the two solid lines are the darkest and the warmest
            assert len(set(map(str, looks))) >= len(looks) - 1
        else:
            assert len(set(looks)) == len(looks)


def test_figures_of_any_number_of_cells(tmp_path):
    settings = ComparisonSettings(hidden=4, steps=3, batch_size=8, flow_examples=2)
    result = train_and_measure("irnn", digits(0), settings)
    write_figures({"irnn": result}, tmp_path)
    stems = ("gradient_norms", "learning_curves", "sensitivity", "singular_values")
    expected = sorted(f"{stem}.{suffix}" for stem in stems for suffix in ("pdf", "png"))
    assert sorted(p.name for p in tmp_path.iterdir()) == expected
    for stem in stems:
        assert (tmp_path / f"{stem}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert (tmp_path / f"{stem}.pdf").read_bytes()[:5] == b"%PDF-"
