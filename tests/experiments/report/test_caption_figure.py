"""The figure of captioned images: its panels, texts and attention maps."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from rnnjax.experiments.report import CaptionRow, write_captions
from rnnjax.experiments.report._captions import caption_figure
from rnnjax.experiments.report._style import style

IMAGE = np.zeros((12, 12, 3), np.uint8)
FAR = "a dog far away behind the houses on the hill"
LOOKED = np.zeros((4, 2, 3))
LOOKED[0, 0, 0], LOOKED[1, 1, 2], LOOKED[2] = 0.8, 0.4, 1 / 6


def test_each_word_has_a_panel_with_its_attention():
    rows = [
        CaptionRow(IMAGE, "a red dog", (FAR, "two cats"), LOOKED),
        CaptionRow(IMAGE, "dogs", ("dogs",), LOOKED[:2]),
    ]
    with style():
        figure = caption_figure(rows)
    assert len(figure.axes) == 2 * 4
    picture, *words = figure.axes[:4]
    assert [axis.get_title() for axis in words] == ["a", "red", "dog"]
    assert [to_hex(axis.title.get_color()) for axis in words] == ["#000000", "#d55e00", "#000000"]
    assert [text.get_text() for text in words[0].texts] == [f"reference: {FAR}"]
    assert len(picture.images) == 1
    figure.draw_without_rendering()
    apart = np.diff([axis.get_position().x0 for axis in words])
    assert apart[0] == pytest.approx(apart[1])  # whatever is written below
    for axis, weights in zip(words, LOOKED, strict=False):
        heat = np.asarray(axis.images[1].get_array())
        np.testing.assert_allclose(heat[..., 3], 0.85 * weights / weights.max())
        assert tuple(axis.images[1].get_extent()) == (-0.5, 11.5, 11.5, -0.5)
    second = figure.axes[4:]
    assert [axis.get_title() for axis in second] == ["", "dogs", "", ""]
    assert not any(axis.texts for axis in second)


def test_without_attention_the_caption_is_beside_the_image():
    rows = [CaptionRow(IMAGE, "two dogs", ("two cats",)), CaptionRow(IMAGE, "dogs")]
    with style():
        figure = caption_figure(rows)
    assert [[text.get_text() for text in axis.texts] for axis in figure.axes] == [
        [],
        ["two dogs", "reference: two cats"],
        [],
        ["dogs"],
    ]


def test_it_is_written_to_a_file(tmp_path):
    rows = [CaptionRow(IMAGE, "", attention=LOOKED[:1])]
    assert write_captions(rows, tmp_path / "x") == tmp_path / "x.png"
    assert np.asarray(Image.open(tmp_path / "x.png")).min() == 0
    with pytest.raises(ValueError, match="at least one picture"):
        write_captions([], tmp_path / "y.png")
    assert [each.name for each in tmp_path.iterdir()] == ["x.png"]
