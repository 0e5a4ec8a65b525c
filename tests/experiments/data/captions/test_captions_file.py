"""Files of captions: the three forms say the same, and bad lines are found by their number."""

import json

import pytest
from data_files import table

from rnnjax.experiments.data.captions import normalise_caption, read_captions

CAPTIONS = {
    "b.jpg": ("A dog , black .", "The dog's black !"),
    "a.jpg": ("Two cats",),
}


def tokens(path, captions=CAPTIONS):
    lines = [f"{n}#{k}\t{text}" for n, each in captions.items() for k, text in enumerate(each)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def coco(path, captions=CAPTIONS, **changed):
    images = [{"id": k, "file_name": name} for k, name in enumerate(captions)]
    found = [
        {"image_id": k, "caption": text, "id": 100 + k}
        for k, each in enumerate(captions.values())
        for text in each
    ]
    content = {"info": {}, "images": images, "annotations": found, **changed}
    path.write_text(json.dumps(content, indent=1), "utf-8")
    return path


@pytest.mark.parametrize(
    ("write", "name"),
    [(tokens, "Flickr8k.token.txt"), (table, "captions.txt"), (coco, "captions_val2014.json")],
)
def test_three_forms_say_the_same(tmp_path, write, name):
    found = read_captions(write(tmp_path / name, CAPTIONS))
    assert [(entry.name, entry.captions) for entry in found] == [
        ("b.jpg", ("a dog black", "the dog's black")),
        ("a.jpg", ("two cats",)),
    ]
    where = {"token": ("line 1", "line 3"), "captions": ("line 2", "line 4")}
    where["captions_val2014"] = ("annotations[0]", "annotations[2]")
    for entry, place in zip(
        found, where[name.split(".")[-2 if "token" in name else 0]], strict=True
    ):
        assert entry.where == f"{tmp_path / name}, {place}"


def test_captions_of_a_picture_need_not_stand_together(tmp_path):
    path = tmp_path / "x.token.txt"
    path.write_text("a#0\tone\nb#0\ttwo\n\na#1\tthree")
    assert [(e.name, e.captions) for e in read_captions(path)] == [
        ("a", ("one", "three")),
        ("b", ("two",)),
    ]


def test_other_encodings_and_byte_order_marks(tmp_path):
    path = tmp_path / "x.token.txt"
    path.write_bytes("\ufeffa.jpg#0\tUn café\n".encode())
    assert read_captions(path)[0][:2] == ("a.jpg", ("un café",))
    path.write_bytes("a.jpg#0\tplain\nb.jpg#0\tUn café\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"token.txt, line 2: not utf-8: byte 0xe9 at .*latin-1"):
        read_captions(path)
    assert read_captions(path, "latin-1")[1].captions == ("un café",)
    with pytest.raises(ValueError, match="encoding='latin-one' is not known"):
        read_captions(path, "latin-one")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "captions.txt is empty"),
        ("\n \n", "captions.txt is empty"),
        ("a dog runs\n", r"line 1: expected image.jpg#0, a tab and a caption, or a header"),
        ("a.jpg#0\tdog\nb.jpg\tcat\n", r"line 2: expected image.jpg#0, a tab .* got 'b.jpg"),
        ("a.jpg#0\tdog\nb.jpg#0 cat\n", r"line 2: expected image.jpg#0, a tab"),
        ("a.jpg#0\tdog\n\n#1\tcat\n", r"line 3: expected image.jpg#0, a tab"),
        ("a.jpg#0\tdog\nb.jpg#0\t. !\n", r"line 2: the caption of b.jpg has no words: '. !'"),
        ("image,caption\na.jpg,dog\nb.jpg,a,cat\n", r"line 3: expected 2 fields"),
        ('image,caption\na.jpg,"dog\n', r'line 2: a field begins with " but no closing'),
        ("image,caption\na.jpg,dog\n ,cat\n", r"line 3: expected the name of a picture"),
        ("image,captions\na.jpg,dog\n", r"line 1: no column 'caption' .*did you mean 'captions'"),
        ("image,caption\n", "has no rows after its header"),
    ],
)
def test_bad_text_files(tmp_path, content, message):
    path = tmp_path / "captions.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_captions(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": None}, "expected an object with a list 'images'"),
        ({"annotations": {}}, "expected an object with a list 'annotations'"),
        ({"annotations": []}, "has no captions"),
        ({"images": [{"id": 0}]}, r"images\[0\]: expected text as 'file_name', got None"),
        ({"images": [7]}, r"images\[0\]: expected an object, got int"),
        (
            {"annotations": [{"image_id": 1, "caption": "x"}, {"image_id": 9, "caption": "x"}]},
            r"annotations\[1\]: image_id 9 is not among the images",
        ),
        ({"annotations": [{"image_id": 1}]}, r"annotations\[0\]: expected text as 'caption'"),
        ({"annotations": [{"caption": "x"}]}, r"annotations\[0\]: expected a number as 'image_id'"),
    ],
)
def test_bad_json(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        read_captions(coco(tmp_path / "captions.json", **changed))


def test_json_that_is_cut_off_or_in_another_encoding(tmp_path):
    path = coco(tmp_path / "captions.json")
    whole = path.read_bytes()
    path.write_bytes(whole[:-60])
    lines = whole[:-60].count(b"\n")
    with pytest.raises(ValueError, match=rf"captions.json, line ({lines}|{lines + 1}): not JSON"):
        read_captions(path)
    path.write_bytes(whole.replace(b"Two", b"\xff"))
    with pytest.raises(ValueError, match="not UTF-8, which JSON is"):
        read_captions(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="expected an object with a list 'images'"):
        read_captions(path)


def test_plain_words():
    assert normalise_caption('A "well-known" dog_house, isn\'t it? 2 CATS.') == (
        "a well known dog house isn't it 2 cats"
    )
    assert normalise_caption(" - ") == ""
