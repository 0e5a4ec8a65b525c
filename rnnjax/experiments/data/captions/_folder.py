"""Folders of captioned pictures, in the layout of Flickr8k or of COCO."""

import warnings
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from rnnjax._arguments import checked_arguments
from rnnjax.experiments.data._storage import cached
from rnnjax.experiments.data._text_files import stripped_lines
from rnnjax.experiments.data.captions._captioned import Captioned, CaptionSource
from rnnjax.experiments.data.captions._features import Features
from rnnjax.experiments.data.captions._files import PictureCaptions, read_captions
from rnnjax.experiments.data.captions._picture_files import PictureFiles, check_names

_EVERY = 10  # every tenth picture is for testing if nothing defines a test set
_LEFT_OUT = 0.01  # share of pictures that may be missing or damaged
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
      side: height and width to which pictures are resized, cropped to their centre square.
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
        number), a picture in both training and test lists, a name or a link that leads out of the
        folder, or more than one in a hundred pictures that are missing or damaged; fewer are left
        out, with a warning that counts them.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: expected one of captioned pictures")
    train, test = _entries(folder, part, encoding)
    if features is None:
        check_names([*train, *test])
        folders = [_folder_of(folder, train), _folder_of(folder, test)]
        reader = PictureFiles(folder, folders, side)
    else:
        reader = Features(features)
    left_out = _left_out([*train, *test], reader)
    paths = [reader.path_of(each.name) for each in (*train, *test) if each.name not in left_out]
    return CaptionSource(
        _part(train, left_out, reader), {"pictures": _part(test, left_out, reader)}, paths
    )


def _part(
    entries: list[PictureCaptions], left_out: set[str], reader: PictureFiles | Features
) -> Captioned:
    present = [entry for entry in entries if entry.name not in left_out]
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


def _left_out(entries: list[PictureCaptions], reader: PictureFiles | Features) -> set[str]:
    """The names of missing and damaged pictures: a warning if they are few, an error otherwise."""
    missing = [entry for entry in entries if entry.name not in reader]
    left_out = {entry.name for entry in missing}
    damaged = _damaged([entry for entry in entries if entry.name not in left_out], reader)
    messages = []
    if missing:
        others = f", nor are {len(missing) - 1} others" if len(missing) > 1 else ""
        messages.append(f"{missing[0].where}: {missing[0].name} is not in {reader}{others}")
    if damaged:
        others = f"; {len(damaged) - 1} others are damaged" if len(damaged) > 1 else ""
        messages.append(f"{next(iter(damaged.values()))}{others}")
    if messages:
        left_out |= damaged.keys()
        if len(left_out) > _LEFT_OUT * len(entries):
            raise ValueError(f"{'; '.join(messages)}, of {len(entries)}")
        warnings.warn(f"{'; '.join(messages)}: they are left out", stacklevel=2)
    return left_out


def _damaged(
    entries: list[PictureCaptions], reader: PictureFiles | Features
) -> dict[str, ValueError]:
    """What is wrong with pictures, by name."""
    found: dict[str, ValueError] = {}
    for entry in entries:
        try:
            reader.check(entry.name)
        except ValueError as error:
            found[entry.name] = error
    return found
