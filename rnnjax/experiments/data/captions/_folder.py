"""Folders of captioned pictures, in the layout of Flickr8k or of COCO."""

import warnings
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from rnnjax._arguments import checked_arguments
from rnnjax.experiments.data._storage import cached
from rnnjax.experiments.data._text_files import stripped_lines
from rnnjax.experiments.data.captions._captioned import Captioned, CaptionSource
from rnnjax.experiments.data.captions._features import Features
from rnnjax.experiments.data.captions._files import PictureCaptions, read_captions
from rnnjax.experiments.data.images._pictures import read_image

_EVERY = 10  # every tenth picture is for testing if nothing defines a test set
_MISSING = 0.01  # share of pictures that may be missing
_LAYOUTS = """expected, in it or a subfolder,
  captions.txt (columns image,caption) or *.token.txt (lines of image.jpg#0, a tab, a caption), a
  folder of pictures, and perhaps *testImages.txt or *devImages.txt, with or without
  *trainImages.txt, as in Flickr8k;
  or captions_train*.json and captions_val*.json with folders of pictures (COCO)"""


@checked_arguments
def open_captioned_pictures(
    folder: str | Path,
    side: int,
    *,
    part: str = "test",
    features: str | Path | None = None,
    encoding: str = "utf-8",
) -> CaptionSource:
    """Open a folder of captioned pictures, which are read from disk on demand.

    Args:
      folder: of captions and pictures; the error message lists the layouts.
      side: height and width to which pictures are resized.
      part: which of Flickr8k's lists to test on, "test" or "dev". Without *trainImages.txt the
        pictures in neither are for training. Without any list, and with a single caption file,
        every tenth picture in the order of names is for testing.
      features: an npz file of precomputed features, instead of pictures.
      encoding: of text files.

    Returns:
      A `CaptionSource`.

    Raises:
      FileNotFoundError: there is no such folder or file.
      ValueError: an unknown layout, several files where one is expected, a malformed line (with its
        number), a picture in both training and test lists, or missing pictures.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: expected one of captioned pictures")
    train, test = _entries(folder, part, encoding)
    if features is None:
        reader = _Files([_folder_of(folder, train), _folder_of(folder, test)], side)
    else:
        reader = Features(features)
    missing = _missing([*train, *test], reader)
    present = {entry.name for entry in (*train, *test)} - missing
    paths = [reader.path_of(name) for name in present]
    return CaptionSource(
        _part(train, missing, reader), {"pictures": _part(test, missing, reader)}, paths
    )


class _Files:
    """Picture files in a few folders, by name."""

    def __init__(self, folders: list[Path], side: int) -> None:
        self.folders, self._side = list(dict.fromkeys(folders)), side

    def __str__(self) -> str:
        return " or ".join(str(folder) for folder in self.folders)

    def __contains__(self, name: str) -> bool:
        return any((folder / name).is_file() for folder in self.folders)

    def __getitem__(self, name: str, /) -> np.ndarray:
        return read_image(self.path_of(name), self._side)

    def path_of(self, name: str) -> Path:
        there = [path for path in (folder / name for folder in self.folders) if path.is_file()]
        return (there or [self.folders[0] / name])[0]


def _part(
    entries: list[PictureCaptions], missing: set[str], reader: _Files | Features
) -> Captioned:
    present = [entry for entry in entries if entry.name not in missing]
    captions = [entry.captions for entry in present]
    return Captioned(cached(lambda k: reader[present[k].name]), captions)


def _entries(
    folder: Path, part: str, encoding: str
) -> tuple[list[PictureCaptions], list[PictureCaptions]]:
    jsons = _found(folder, "captions_train*.json"), _found(folder, "captions_val*.json")
    if jsons[0] and jsons[1]:
        return read_captions(jsons[0]), read_captions(jsons[1])
    captions = _found(folder, "captions*.txt", "captions*.csv", "*.token.txt", "captions*.json")
    if captions is None:
        raise ValueError(f"{folder}: found no captions: {_LAYOUTS}")
    entries = read_captions(captions, encoding)
    found = {name: _found(folder, f"*{name}Images.txt") for name in ("train", "test", "dev")}
    lists = {name: path for name, path in found.items() if path is not None}
    if lists:
        return _by_lists(entries, captions, lists, part, encoding)
    ordered = sorted(entries, key=lambda entry: entry.name)
    test = ordered[_EVERY - 1 :: _EVERY]
    train = [entry for k, entry in enumerate(ordered) if k % _EVERY != _EVERY - 1]
    if not train or not test:
        raise ValueError(
            f"{captions}: {len(entries)} pictures leave {len(train)} to train on and {len(test)} "
            f"to test on: expected at least {_EVERY}"
        )
    return train, test


def _by_lists(
    entries: list[PictureCaptions], captions: Path, lists: dict[str, Path], part: str, encoding: str
) -> tuple[list[PictureCaptions], list[PictureCaptions]]:
    """Training and test pictures; without a training list, the pictures in no list are training."""
    if part not in lists:
        raise ValueError(f"{next(iter(lists.values()))} has no *{part}Images.txt beside it")
    listed = {name: _listed(entries, path, captions, encoding) for name, path in lists.items()}
    test = listed[part]
    if "train" not in lists:
        held_out = {entry.name for chosen in listed.values() for entry in chosen}
        train = [entry for entry in entries if entry.name not in held_out]
        if not train:
            raise ValueError(f"{lists[part]} leaves no picture of {captions} for training")
        return train, test
    tested = {entry.name for entry in test}
    for entry in listed["train"]:
        if entry.name in tested:
            raise ValueError(
                f"{entry.name} is in {lists['train']} and in {lists[part]}: expected no picture "
                "in both; remove it from one of them"
            )
    return listed["train"], test


def _found(folder: Path, *patterns: str) -> Path | None:
    """The file that matches the first pattern with a match, in the folder or a subfolder."""
    for pattern in patterns:
        files = sorted([*folder.glob(pattern), *folder.glob(f"*/{pattern}")])
        files = [file for file in files if not _is_ignored(file.name)]
        if len(files) > 1:
            raise ValueError(
                f"{folder}: expected one file {pattern}, found {', '.join(map(str, files))}: "
                "keep the one to read and move the others away"
            )
        if files:
            return files[0]
    return None


def _is_ignored(name: str) -> bool:
    """Whether a file is hidden, or contains lemmas instead of words."""
    return name.startswith(".") or ".lemma." in name


def _listed(
    entries: list[PictureCaptions], names: Path, captions: Path, encoding: str
) -> list[PictureCaptions]:
    by_name = {entry.name: entry for entry in entries}
    chosen = []
    for where, line in stripped_lines(names, encoding):
        if name := line.strip():
            if name not in by_name:
                raise ValueError(f"{where}: {captions} has no captions of {name}")
            chosen.append(by_name[name])
    if not chosen:
        raise ValueError(f"{names} is empty: expected the name of a picture on each line")
    return chosen


def _folder_of(folder: Path, entries: Sequence[PictureCaptions]) -> Path:
    """The folder of the pictures: the first one that contains any of the first hundred."""
    names = [entry.name for entry in entries[:100]]
    for inner in chain([folder], _folders_in(folder)):
        if any((inner / name).is_file() for name in names):
            return inner
    raise ValueError(
        f"{entries[0].where}: there is no picture {names[0]} in {folder} or its subfolders"
    )


def _folders_in(folder: Path, depth: int = 2) -> Iterator[Path]:
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    yield from inner
    if depth > 1:
        for path in inner:
            yield from _folders_in(path, depth - 1)


def _missing(entries: list[PictureCaptions], reader: _Files | Features) -> set[str]:
    """The names of missing pictures: a warning if they are few, an error otherwise."""
    missing = [entry for entry in entries if entry.name not in reader]
    if missing:
        first = missing[0]
        message = (
            f"{first.where}: {first.name} is not in {reader}, nor are {len(missing) - 1} others"
        )
        if len(missing) > _MISSING * len(entries):
            raise ValueError(f"{message}, of {len(entries)}")
        warnings.warn(f"{message}: they are left out", stacklevel=2)
    return {entry.name for entry in missing}
