"""The figure of captioned images: its panels, texts and attention maps."""

import numpy as np
import pytest
from looked_at import faults
from matplotlib.colors import to_hex
from PIL import Image

from rnnjax.experiments.report import CaptionRow, style, write_captions
from rnnjax.experiments.report._captions import caption_figure

IMAGE = np.zeros((12, 12, 3), np.uint8)
FAR = "a dog far away behind the houses on the hill"
LOOKED = np.zeros((4, 2, 3))
LOOKED[0, 0, 0], LOOKED[1, 1, 2], LOOKED[2] = 0.8, 0.4, 1 / 6
SCALE = "attention / its maximum for the word"
RED = "red: not in the nearest reference"


def drawn(*rows):
    with style():
        return caption_figure(rows)


def texts(figure):
    return [text.get_text() for text in figure.texts]


def test_each_word_has_a_panel_with_its_attention():
    figure = drawn(
        CaptionRow(IMAGE, "a red dog", (FAR, "two cats"), LOOKED),
        CaptionRow(IMAGE, "dogs", ("dogs",), LOOKED[:2]),
    )
    note = ["reference: a dog far away behind the houses on", "the hill"]
    assert texts(figure) == ["a", "red", "dog", *note, "dogs", SCALE, RED]
    colors = [to_hex(text.get_color()) for text in figure.texts[:3]]
    assert colors == ["#000000", "#d55e00", "#000000"]
    picture, *words = figure.axes[:4]
    assert len(picture.images) == 1
    for axis, weights in zip(words, LOOKED, strict=False):
        heat = axis.images[1]
        np.testing.assert_allclose(heat.get_array(), weights / weights.max())
        assert (heat.norm.vmin, heat.norm.vmax) == (0, 1)
        assert tuple(heat.get_extent()) == (-0.5, 11.5, 11.5, -0.5)
    assert len({round(axis.get_position().width, 6) for axis in words}) == 1
    bar = figure.axes[-1]
    assert [*bar.get_xticks()] == [0, 1]
    assert not faults(figure)


def test_without_attention_the_caption_is_beside_the_image():
    figure = drawn(CaptionRow(IMAGE, "two dogs", ("two cats",)), CaptionRow(IMAGE, "dogs"))
    red = "red: matches no reference"
    assert texts(figure) == ["two dogs", "reference: two cats", "dogs", red]
    assert len(figure.axes) == 2


@pytest.mark.parametrize("attention", [None, LOOKED])
@pytest.mark.parametrize("others", [[], [CaptionRow(IMAGE, "a dog", attention=LOOKED)]])
def test_an_empty_caption_is_named_so(attention, others):
    figure = drawn(CaptionRow(IMAGE, "", ("a dog",), attention), *others)
    assert texts(figure)[:2] == ["(empty caption)", "reference: a dog"]
    assert not faults(figure)


WORDS = "a man skateboarding down the incomprehensibilities-of-everything street $5 x_y <unk>"


@pytest.mark.parametrize("attention", [None, np.ones((40, 2, 2))])
@pytest.mark.parametrize("words", [WORDS, "WWWWWWWW " * 12])
def test_long_captions_are_broken_into_lines(words, attention):
    figure = drawn(CaptionRow(IMAGE, words, ("two dogs " * 40,), attention))
    assert figure.get_size_inches()[0] <= 7.0
    assert not faults(figure)
    if attention is not None:
        assert len(figure.axes) == 1 + len(words.split()) + 1


def test_maps_that_are_missing_or_not_finite_are_not_drawn():
    figure = drawn(CaptionRow(IMAGE, "a red dog", attention=np.full((2, 2, 2), np.nan)))
    images = [axis.images for axis in figure.axes[1:4]]
    assert [len(each) for each in images] == [2, 2, 1]
    assert np.asarray(images[0][1].get_array()).max() == 0


def test_it_is_written_to_a_file(tmp_path):
    rows = [CaptionRow(IMAGE, "dogs", attention=LOOKED[:1])]
    assert write_captions(rows, tmp_path / "x") == tmp_path / "x.png"
    assert np.asarray(Image.open(tmp_path / "x.png")).min() == 0
    with pytest.raises(ValueError, match="at least one picture"):
        write_captions([], tmp_path / "y.png")
    with pytest.raises(ValueError, match="1000 images would be a figure of 940 inches, at most"):
        write_captions(rows * 1000, tmp_path / "y.png")
    assert [each.name for each in tmp_path.iterdir()] == ["x.png"]
