"""Caption files: Flickr8k's two formats, and COCO's."""

import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rnnjax._arguments import checked_arguments
from rnnjax.experiments._parsing import parse_json
from rnnjax.experiments.data._tables import read_rows
from rnnjax.experiments.data._text_files import stripped_lines
from rnnjax.experiments.data.captions._words import normalise_caption

_HEADER = ("image", "caption")


class PictureCaptions(NamedTuple):
    """The captions of one picture."""

    name: str  # of the picture's file
    captions: tuple[str, ...]  # normalised
    where: str  # file and line (or JSON path) of the first, for error messages


@checked_arguments
def read_captions(path: str | Path, encoding: str = "utf-8") -> list[PictureCaptions]:
    """Read a caption file, grouped by picture in the order of first occurrence.

    Three formats are recognised automatically:

        image.jpg#0<TAB>A dog runs .          Flickr8k.token.txt: picture, number, caption
        image,caption                         captions.txt: CSV with these columns
        {"images": […], "annotations": […]}   COCO's JSON, with file_name, id; image_id, caption

    Args:
      path: the file.
      encoding: of the first two formats; JSON is UTF-8.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: an unknown format, no captions, or a malformed line or annotation; the error says
        which, and what was expected there.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        found = _of_json(path)
    else:
        first = _first_line(path, encoding)
        if "\t" in first:
            found = _of_lines(path, encoding)
        elif all(name in first.lower() for name in _HEADER):
            found = _of_table(path, encoding)
        else:
            raise ValueError(
                f"{path}, line 1: expected image.jpg#0, a tab and a caption, or a header "
                f"image,caption, got {first[:60]!r}"
            )
    return _grouped(found, path)


_Found = Iterable[tuple[str, str, str]]  # picture, caption, where


def _grouped(found: _Found, path: Path) -> list[PictureCaptions]:
    by_name: dict[str, tuple[list[str], str]] = {}
    for name, caption, where in found:
        words = normalise_caption(caption)
        if not words:
            raise ValueError(f"{where}: the caption of {name} has no words: {caption!r}")
        by_name.setdefault(name, ([], where))[0].append(words)
    if not by_name:
        raise ValueError(f"{path} has no captions")
    return [PictureCaptions(name, tuple(texts), where) for name, (texts, where) in by_name.items()]


def _first_line(path: Path, encoding: str) -> str:
    for _, line in stripped_lines(path, encoding):
        return line
    raise ValueError(f"{path} is empty: expected captions")


def _of_lines(path: Path, encoding: str) -> Iterator[tuple[str, str, str]]:
    for where, line in stripped_lines(path, encoding):
        picture, tab, caption = line.partition("\t")
        name, mark, _ = picture.rpartition("#")
        if not tab or not mark or not name:
            raise ValueError(
                f"{where}: expected image.jpg#0, a tab and a caption, got {line[:60]!r}"
            )
        yield name, caption, where


def _of_table(path: Path, encoding: str) -> Iterator[tuple[str, str, str]]:
    for number, row in read_rows(path, _HEADER, encoding=encoding, kind="csv", delimiter=","):
        where = f"{path}, line {number}"
        if not row["image"].strip():
            raise ValueError(f"{where}: expected the name of a picture, got nothing")
        yield row["image"].strip(), row["caption"], where


def _of_json(path: Path) -> Iterator[tuple[str, str, str]]:
    content = parse_json(path.read_bytes(), path)
    for key in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(f"{path}: expected an object with a list {key!r}, as COCO has it")
    names: dict[Any, str] = {}
    for k, image in enumerate(content["images"]):
        _check_keys(f"{path}, images[{k}]", image, {"id": (int, str), "file_name": str})
        names[image["id"]] = image["file_name"]
    for k, annotation in enumerate(content["annotations"]):
        where = f"{path}, annotations[{k}]"
        _check_keys(where, annotation, {"image_id": (int, str), "caption": str})
        if annotation["image_id"] not in names:
            raise ValueError(f"{where}: image_id {annotation['image_id']} is not among the images")
        yield names[annotation["image_id"]], annotation["caption"], where


def _check_keys(where: str, found: Any, wanted: dict[str, Any]) -> None:
    if not isinstance(found, dict):
        raise ValueError(f"{where}: expected an object, got {type(found).__name__}")
    for key, kind in wanted.items():
        if not isinstance(found.get(key), kind):
            what = "text" if kind is str else "a number"
            got = reprlib.repr(found.get(key))  # shortened
            raise ValueError(f"{where}: expected {what} as {key!r}, got {got}")
