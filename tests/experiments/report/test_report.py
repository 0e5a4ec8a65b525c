import json
import math
from typing import NamedTuple

import numpy as np
import pytest

from rnnjax.experiments.report import LOOKS, write_json
from rnnjax.experiments.training import CONTENDERS


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


def test_every_cell_has_a_distinct_look():
    assert set(LOOKS) == set(CONTENDERS)
    for field in ("label", "color", "dashes", "marker"):
        looks = [getattr(look, field) for look in LOOKS.values()]
        if field == "dashes":  # the two solid lines are the darkest and the warmest
            assert len(set(map(str, looks))) >= len(looks) - 1
        else:
            assert len(set(looks)) == len(looks)
