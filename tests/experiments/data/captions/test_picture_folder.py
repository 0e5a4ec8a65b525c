"""Folders in both layouts; pictures and features read as they are asked for; what is missing."""

import numpy as np
import pytest
from data_files import table
from PIL import Image
from test_captions_file import coco, tokens

from rnnjax.experiments.data import read_image
from rnnjax.experiments.data.captions import Features, open_captioned_pictures
from rnnjax.experiments.data.images import as_picture

NAMES = [f"{k:02}.png" for k in range(20)]
WORDS = {name: (f"picture {name[:2]}", f"number {name[:2]}") for name in NAMES}


def draw(folder, names=NAMES):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (12, 8), (10 * int(name[:2]), 100, 50)).save(folder / name)


def shown(part):
    """Which pictures a part has, told by their colours and by their captions."""
    by_color = [int(part.read(k)[0, 0, 0]) // 10 for k in range(len(part.captions))]
    by_words = [int(captions[0].split()[1]) for captions in part.captions]
    assert by_color == by_words
    return by_words


def test_kaggles_form_holds_out_every_tenth(tmp_path):
    draw(tmp_path / "Images")
    table(tmp_path / "captions.txt", dict(reversed(WORDS.items())))
    source = open_captioned_pictures(tmp_path, 4)
    assert shown(source.tests["pictures"]) == [9, 19]
    assert shown(source.train) == [k for k in range(20) if k not in (9, 19)]
    assert source.train.captions[3] == ("picture 03", "number 03")
    assert source.train.read(0).shape == (4, 4, 3)


def test_flickrs_own_form_has_lists(tmp_path):
    draw(tmp_path / "Flicker8k_Dataset")
    text = tmp_path / "Flickr8k_text"
    text.mkdir()
    tokens(text / "Flickr8k.token.txt", WORDS)
    for part, names in (("train", NAMES[5:8]), ("dev", NAMES[1:2]), ("test", NAMES[3:5])):
        (text / f"Flickr_8k.{part}Images.txt").write_text("\n".join(names) + "\n\n")
    source = open_captioned_pictures(tmp_path, 4)
    assert shown(source.train) == [5, 6, 7]
    assert shown(source.tests["pictures"]) == [3, 4]
    assert shown(open_captioned_pictures(tmp_path, 4, part="dev").tests["pictures"]) == [1]
    (text / "Flickr_8k.trainImages.txt").write_text(f"{NAMES[0]}\nother.png\n")
    with pytest.raises(ValueError, match=r"trainImages.txt, line 2: .*no captions of other.png"):
        open_captioned_pictures(tmp_path, 4)
    (text / "Flickr_8k.devImages.txt").unlink()
    with pytest.raises(ValueError, match=r"trainImages.txt has no \*devImages.txt beside it"):
        open_captioned_pictures(tmp_path, 4, part="dev")


def listed(folder, **lists):
    """Twenty pictures, and lists of some of them by their numbers."""
    draw(folder)
    tokens(folder / "x.token.txt", WORDS)
    for part, numbers in lists.items():
        (folder / f"x.{part}Images.txt").write_text("".join(f"{NAMES[k]}\n" for k in numbers))
    return folder


def test_lemmas_are_passed_over(tmp_path):
    listed(tmp_path, test=[3])
    lemmas = {name: (f"lemma {name[:2]}",) for name in NAMES}
    tokens(tmp_path / "x.lemma.token.txt", lemmas)
    assert open_captioned_pictures(tmp_path, 4).tests["pictures"].captions == [
        ("picture 03", "number 03")
    ]


def test_several_files_of_captions_are_listed(tmp_path):
    tokens(listed(tmp_path) / "y.token.txt", WORDS)
    match = r"expected one file \*\.token\.txt, found .*x\.token\.txt, .*y\.token\.txt"
    with pytest.raises(ValueError, match=match):
        open_captioned_pictures(tmp_path, 4)


def test_without_a_list_to_train_on_the_rest_is(tmp_path):
    source = open_captioned_pictures(listed(tmp_path, test=[4, 2], dev=[7]), 4)
    assert shown(source.tests["pictures"]) == [4, 2]
    assert shown(source.train) == [k for k in range(20) if k not in (2, 4, 7)]
    (tmp_path / "x.devImages.txt").unlink()
    assert shown(open_captioned_pictures(tmp_path, 4).train) == [
        k for k in range(20) if k not in (2, 4)
    ]
    with pytest.raises(ValueError, match=r"testImages.txt has no \*devImages.txt beside it"):
        open_captioned_pictures(tmp_path, 4, part="dev")
    listed(tmp_path, test=range(20))
    with pytest.raises(ValueError, match=r"testImages.txt leaves no picture of .*token.txt for"):
        open_captioned_pictures(tmp_path, 4)


def test_no_picture_is_in_both_lists(tmp_path):
    listed(tmp_path, train=[5, 6, 7], test=[1, 6], dev=[8])
    with pytest.raises(ValueError, match=r"06.png is in .*trainImages.txt and in .*testImages.txt"):
        open_captioned_pictures(tmp_path, 4)
    assert shown(open_captioned_pictures(tmp_path, 4, part="dev").train) == [5, 6, 7]


def test_lists_in_other_encodings_and_empty_ones(tmp_path):
    listed(tmp_path, train=[5, 6], test=[1])
    train, test = tmp_path / "x.trainImages.txt", tmp_path / "x.testImages.txt"
    test.write_bytes(f"\ufeff{NAMES[2]}\r\n{NAMES[3]}\r\n".encode())
    assert shown(open_captioned_pictures(tmp_path, 4).tests["pictures"]) == [2, 3]
    test.write_bytes(f"{NAMES[2]}\ncafé.png\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"testImages.txt, line 2: not utf-8: byte 0xe9"):
        open_captioned_pictures(tmp_path, 4)
    with pytest.raises(ValueError, match=r"testImages.txt, line 2: .* has no captions of café.png"):
        open_captioned_pictures(tmp_path, 4, encoding="latin-1")
    test.write_text(NAMES[2])
    train.write_text("\n\n")
    with pytest.raises(ValueError, match=r"trainImages.txt is empty: expected the name of a pict"):
        open_captioned_pictures(tmp_path, 4)


def test_cocos_form(tmp_path):
    draw(tmp_path / "train2017", NAMES[:15])
    draw(tmp_path / "val2017", NAMES[15:])
    (tmp_path / "annotations").mkdir()
    for part, names in (("train", NAMES[:15]), ("val", NAMES[15:])):
        path = tmp_path / "annotations" / f"captions_{part}2017.json"
        coco(path, {name: WORDS[name] for name in names})
    source = open_captioned_pictures(tmp_path, 4)
    assert shown(source.train) == list(range(15))
    assert shown(source.tests["pictures"]) == list(range(15, 20))


def test_pictures_are_read_when_they_are_asked_for(tmp_path):
    draw(tmp_path)
    table(tmp_path / "captions.csv", WORDS)
    train = open_captioned_pictures(tmp_path, 4).train
    first = train.read(0)
    for name in NAMES:
        (tmp_path / name).unlink()
    np.testing.assert_array_equal(train.read(0), first)  # what was read is kept
    with pytest.raises(FileNotFoundError, match=r"there is no picture .*01.png"):
        train.read(1)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        open_captioned_pictures(tmp_path / "none", 4)
    with pytest.raises(ValueError, match=r"found no captions: expected"):
        open_captioned_pictures(tmp_path, 4)
    table(tmp_path / "captions.txt", WORDS)
    with pytest.raises(ValueError, match=r"captions.txt, line 2: there is no picture 00.png in"):
        open_captioned_pictures(tmp_path, 4)
    draw(tmp_path, NAMES[:3])
    table(tmp_path / "captions.txt", {name: WORDS[name] for name in NAMES[:3]})
    with pytest.raises(ValueError, match="3 pictures leave 3 to train on and 0 to test on"):
        open_captioned_pictures(tmp_path, 4)


def test_a_few_missing_pictures_are_left_out_with_a_warning(tmp_path):
    names = [f"{k:02}.png" for k in range(100)]
    table(tmp_path / "captions.txt", {name: (f"picture {name[:2]}",) for name in names * 2})
    for name in names:
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    listed = [f"{name}#0\tpicture {name[:2]}" for name in names]
    (tmp_path / "captions.txt").write_text("\n".join([*listed, "zz.jpg.1#0\tbroken"]))
    with pytest.warns(UserWarning, match=r"line 101: zz.jpg.1 is not in [^,]*: they"):
        source = open_captioned_pictures(tmp_path, 2)
    assert len(source.train.captions) + len(source.tests["pictures"].captions) == 100
    for name in names[:5]:
        (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=r"line 1: 00.png is not in .* nor are 5 others, of 101"):
        open_captioned_pictures(tmp_path, 2)


def test_given_features_stand_in_for_pictures(tmp_path):
    tokens(tmp_path / "x.token.txt", WORDS)
    path = tmp_path / "features.npz"
    np.savez(path, **{name[:2]: np.full((2, 3), int(name[:2])) for name in NAMES})
    source = open_captioned_pictures(tmp_path, 4, features=path)
    for part in (source.train, source.tests["pictures"]):
        for k, captions in enumerate(part.captions):
            expected = np.full((2, 3), float(captions[0].split()[1]), np.float32)
            np.testing.assert_array_equal(part.read(k), expected, strict=True)


def test_bad_features(tmp_path):
    path = tmp_path / "features.npz"
    np.savez(path, **{"a.jpg": np.zeros(3), "b.jpg": np.zeros(4), "c": np.array(["x"])})
    features = Features(path)
    assert "folder/a.jpg" in features
    assert "d.jpg" not in features
    with pytest.raises(
        ValueError, match=r"'b.jpg' cannot be read: it has shape \(4,\) and the first one \(3,\)"
    ):
        features["b.jpg"]
    with pytest.raises(ValueError, match=r"'c' .* it is <U1 of shape \(1,\): expected numbers"):
        features["c"]
    with pytest.raises(ValueError, match=r"has no array 'bb.jpg'; did you mean 'b.jpg'"):
        features["bb.jpg"]
    np.save(tmp_path / "one.npy", np.zeros(3))
    path.write_bytes(path.read_bytes()[:200])
    (tmp_path / "text.npz").write_text("text")
    for name in ("one.npy", "features.npz", "text.npz"):
        with pytest.raises(ValueError, match=rf"{name}: expected an .npz file"):
            Features(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        Features(tmp_path / "none.npz")


def test_the_middle_square_of_a_picture(tmp_path):
    wide = np.full((4, 8, 3), 200, np.uint8)
    wide[:, 2:6, 1] = [100, 110, 120, 130]
    Image.fromarray(wide).save(tmp_path / "wide.png")
    np.testing.assert_array_equal(read_image(tmp_path / "wide.png", 4), wide[:, 2:6])
    np.testing.assert_array_equal(as_picture(wide, 4), wide[:, 2:6])
    np.testing.assert_array_equal(as_picture(wide, 2)[0, :, ::2], [[200, 200], [200, 200]])
    assert np.array_equal(as_picture(tmp_path / "wide.png", 2), as_picture(wide, 2))
    gray = Image.fromarray(np.full((6, 6), 90, np.uint8))
    gray.save(tmp_path / "gray.png")
    np.testing.assert_array_equal(read_image(tmp_path / "gray.png", 3), np.full((3, 3, 3), 90))
    np.testing.assert_array_equal(as_picture(np.full((3, 3), 0.5), 3), np.full((3, 3, 3), 128))


def test_a_picture_that_was_turned(tmp_path):
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "turned.png", exif=exif)
    found = read_image(tmp_path / "turned.png", 4)
    np.testing.assert_array_equal(found, np.asarray(image)[::-1, ::-1])


def test_bad_pictures(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no picture .*none.png"):
        read_image(tmp_path / "none.png", 4)
    (tmp_path / "text.png").write_text("text")
    Image.effect_noise((40, 40), 50).save(tmp_path / "cut.jpg")
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("text.png", "cut.jpg", "empty.png"):
        with pytest.raises(ValueError, match=rf"{name}: this picture cannot be read"):
            read_image(tmp_path / name, 4)
    with pytest.raises(ValueError, match=r"expected a picture .* got \(4, 4, 4\)"):
        as_picture(np.zeros((4, 4, 4)), 4)
    with pytest.raises(ValueError, match=r"float64 from 0\.0 to 255.*floats from 0 to 1"):
        as_picture(np.array([[0.0, 255.0]]), 4)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[0, 32768], [65535, 257]], np.uint16), [[0, 128], [255, 1]]),
        (np.array([[0, 32768], [65535, 257]], np.int32), [[0, 128], [255, 1]]),
        (np.array([[0.0, 0.5], [1.0, 0.25]], np.float32), [[0, 128], [255, 64]]),
        (np.array([[0.0, 128.0], [255.0, 64.0]], np.float32), [[0, 128], [255, 64]]),
    ],
    ids=["16 bits", "32 bits", "floats to 1", "floats to 255"],
)
def test_more_than_eight_bits_are_scaled(pixels, expected, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "x.tiff")
    found = read_image(tmp_path / "x.tiff", 2)
    np.testing.assert_array_equal(found, np.repeat(np.array(expected)[..., None], 3, -1))


def test_numbers_out_of_range_are_refused(tmp_path):
    Image.fromarray(np.array([[0, 70000]], np.int32)).save(tmp_path / "x.tiff")
    with pytest.raises(ValueError, match=r"from 0 to 70000, expected 0 to 65535"):
        read_image(tmp_path / "x.tiff", 1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_blended_with_white(mode, tmp_path):
    picture = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    if mode == "P":
        picture = Image.new("P", (2, 2), 0)
        picture.putpalette([0, 0, 0, 9, 9, 9])
        picture.save(tmp_path / "x.png", transparency=0)
    else:
        picture.convert(mode).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", 2), 255)
