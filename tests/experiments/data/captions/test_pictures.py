"""Generated pictures: what is drawn is what the sentences say, and combinations are held out."""

from collections import Counter

import numpy as np
import pytest

from rnnjax.experiments.data.captions import HELD_OUT, _scenes, picture, synthetic_pictures
from rnnjax.experiments.data.captions._scenes import COLORS, RELATIONS, SHAPES, SIZES, _distance


def scenes(part, count=400, seed=0):
    return [picture(k, part=part, side=8, seed=seed).scene for k in range(count)]


def things(part):
    return [thing for scene in scenes(part) for thing in (scene.first, scene.second)]


def test_each_colour_lacks_one_shape_that_others_have():
    assert Counter(color for color, _ in HELD_OUT) == dict.fromkeys(COLORS, 1)
    assert {shape for _, shape in HELD_OUT} == set(SHAPES)
    for part in ("train", "pictures"):
        pairs = Counter((thing.color, thing.shape) for thing in things(part))
        assert len(pairs) == len(COLORS) * len(SHAPES) - len(HELD_OUT)
        assert not pairs.keys() & HELD_OUT
        assert min(pairs.values()) > 12  # 33 each on average


def test_every_picture_of_combinations_shows_one():
    for scene in scenes("combinations"):
        assert {(t.color, t.shape) for t in (scene.first, scene.second)} & HELD_OUT
    pairs = {(thing.color, thing.shape) for thing in things("combinations")}
    assert len(pairs) == len(COLORS) * len(SHAPES)
    assert {(t.color, t.shape) in HELD_OUT for t, _, _ in scenes("combinations")} == {True, False}


@pytest.mark.parametrize("part", ["train", "pictures", "combinations"])
def test_both_sentences_are_true_and_things_never_touch(part):
    said = Counter()
    for first, relation, second in scenes(part):
        dx, dy = first.x - second.x, first.y - second.y
        along, across = (dy, dx) if relation in ("above", "below") else (dx, dy)
        assert abs(along) > abs(across)
        assert (along < 0) == (relation in ("above", "to the left of"))
        assert abs(along) > 1.1 * 1.1 * (SIZES[first.size] + SIZES[second.size]) * 0.9
        for thing in (first, second):
            assert 0.19 < thing.x < 0.81
            assert 0.19 < thing.y < 0.81
        said[relation] += 1
    assert said.keys() == RELATIONS.keys()
    assert min(said.values()) > 60
    scene = scenes("train")[0]
    first, second = scene.sentences
    assert first == f"{scene.first.phrase} is {scene.relation} {scene.second.phrase}"
    assert second == f"{scene.second.phrase} is {RELATIONS[scene.relation]} {scene.first.phrase}"


def test_the_middle_of_each_thing_has_its_colour():
    for k in range(40):
        image, (first, _, second) = picture(k, side=64)
        assert image.shape == (64, 64, 3)
        for thing in (first, second):
            found = image[int(64 * thing.y), int(64 * thing.x)] / 255
            distances = {name: np.abs(found - rgb).sum() for name, rgb in COLORS.items()}
            assert min(distances, key=distances.__getitem__) == thing.color


def test_shapes_cover_what_their_names_say():
    """How much of the square around it a shape of radius r fills, and how it is symmetric."""
    grid = (np.arange(400) + 0.5) / 200 - 1
    x, y = grid[None], grid[:, None]
    inside = {shape: _distance(shape, x, y, 0.8) < 0 for shape in SHAPES}
    share = {shape: mask.mean() * 4 / 0.8**2 for shape, mask in inside.items()}
    expected = {"circle": np.pi, "square": 4 * 0.88**2, "diamond": 2 * 1.2**2}
    expected |= {"cross": 4 * 2 * 0.36 - 4 * 0.36**2, "triangle": 1.9**2 / np.sqrt(3)}
    for shape, area in expected.items():
        assert share[shape] == pytest.approx(area, rel=0.02), shape
        assert (inside[shape] != inside[shape][:, ::-1]).mean() < 1e-3  # but for rounding
    for shape in ("circle", "square", "diamond", "cross"):
        assert (inside[shape] != inside[shape].T).mean() < 1e-3
    rows = np.flatnonzero(inside["triangle"].any(axis=1))
    assert inside["triangle"][rows[0]].sum() < 10 < inside["triangle"][rows[-1]].sum()


def test_a_number_is_always_the_same_picture():
    one, again = picture(3, seed=1), picture(3, seed=1)
    np.testing.assert_array_equal(one.image, again.image)
    assert one.scene == again.scene
    others = [picture(4, seed=1), picture(3, seed=2), picture(3, part="pictures", seed=1)]
    assert all((other.image != one.image).any() for other in others)
    assert picture(3, seed=1, side=9).scene == one.scene


def test_sentences_are_had_without_drawing(monkeypatch):
    drawn, draw = [], _scenes._draw
    monkeypatch.setattr(_scenes, "_draw", lambda *given: drawn.append(1) or draw(*given))
    source = synthetic_pictures(5, 3, 8)
    assert drawn == []
    for part, held in (("train", source.train), *source.tests.items()):
        for k, sentences in enumerate(held.captions):
            found = picture(k, part=part, side=8)
            assert sentences == found.scene.sentences
            np.testing.assert_array_equal(held.read(k), found.image)
    assert len(drawn) == 2 * (5 + 3 + 3)


def test_bad_numbers_and_parts():
    with pytest.raises(ValueError, match=r"part must be one of 'train', .*did you mean 'pictures'"):
        picture(0, part="picture")
    with pytest.raises(ValueError, match="from 0, got -1"):
        picture(-1)
