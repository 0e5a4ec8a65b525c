"""Labelled texts such as reviews: readers of tables, folders and saved datasets."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from rnnjax._arguments import check_choice, checked_arguments
from rnnjax._extras import optional
from rnnjax.experiments.data._tables import KINDS, open_table, read_rows
from rnnjax.experiments.data._text_files import decode, open_lines

HUB = {  # names of `--dataset`, and their repositories on the Hugging Face hub
    "imdb": "stanfordnlp/imdb",
    "yelp": "fancyzhx/yelp_polarity",
    "yelp-stars": "Yelp/yelp_review_full",
}
MOST_CLASSES = 100
LAYOUTS = """expected one of
  a .csv, .tsv or .jsonl file with a column of texts and one of labels;
  a folder with train.csv (.tsv, .jsonl) and optionally test.csv;
  a folder with one file NAME.pos and one NAME.neg, one sentence per line (rt-polarity);
  a folder with a folder of .txt files for each class, such as pos and neg, or train and test
  folders of such (aclImdb);
  a folder written by datasets.save_to_disk"""


class Texts(Protocol):
    """A sequence of texts, in memory or on disk."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> str: ...


class Reviews(NamedTuple):
    texts: Texts  # N
    labels: np.ndarray  # [N] int32 class indices
    classes: tuple[str, ...]


class ReviewSource(NamedTuple):
    train: Reviews
    test: Reviews | None  # None if the data have no test part


class LazyTexts:
    """Texts that a function reads from disk on demand."""

    def __init__(self, size: int, read: Callable[[int], str]) -> None:
        self._size, self._read = size, read

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int, /) -> str:
        return self._read(index)


@checked_arguments
def open_reviews(
    path: str | Path, *, text: str = "text", label: str = "label", encoding: str | None = None
) -> ReviewSource:
    """Open labelled texts on disk, in any of the usual layouts.

    Only the location and label of each text are kept in memory.

    Args:
      path: a table or a folder; the error message lists the layouts.
      text, label: the columns of a table or a saved dataset.
      encoding: of the files; None for UTF-8, and for Latin-1 in the pair of files of rt-polarity.

    Returns:
      A `ReviewSource`.

    Raises:
      FileNotFoundError: path does not exist.
      ValueError: an unknown layout or a malformed file; the error gives the file, the line, and
        what was expected there.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if path.is_file():
        return ReviewSource(_table(path, text, label, encoding), None)
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return _saved(path, text, label)
    negative, positive = (sorted(path.glob(f"*.{ending}")) for ending in ("neg", "pos"))
    if len(negative) == len(positive) == 1:
        return ReviewSource(_pair(negative[0], positive[0], encoding or "latin-1"), None)
    if train := _table_file(path, "train"):
        test = _table_file(path, "test")
        return _matched(
            _table(train, text, label, encoding),
            _table(test, text, label, encoding) if test else None,
            path,
        )
    if (path / "train").is_dir():
        test = path / "test"
        return _matched(
            _class_folders(path / "train", encoding),
            _class_folders(test, encoding) if test.is_dir() else None,
            path,
        )
    return ReviewSource(_class_folders(path, encoding), None)


@checked_arguments
def download_reviews(name: str) -> ReviewSource:
    """Download reviews from the Hugging Face hub (cached): imdb, yelp or yelp-stars.

    Raises:
      ConnectionError: the hub cannot be reached.
    """
    check_choice("dataset", name, HUB)
    try:
        found = optional("datasets").load_dataset(HUB[name])
    except ConnectionError as error:
        raise ConnectionError(
            f"{name} cannot be downloaded: {error}. Pass reviews of your own as data, a file or a "
            "folder"
        ) from error
    return _from_datasets(found, "text", "label", HUB[name])


def _table_file(folder: Path, part: str) -> Path | None:
    found = [file for ending in KINDS if (file := folder / f"{part}{ending}").exists()]
    if len(found) > 1:
        raise ValueError(
            f"{folder}: expected one table of the {part} part, got "
            f"{' and '.join(file.name for file in found)}: move all but one away"
        )
    return found[0] if found else None


def _pair(negative: Path, positive: Path, encoding: str) -> Reviews:
    parts = [open_lines(file, encoding) for file in (negative, positive)]
    split = len(parts[0])

    def read(index: int) -> str:
        return parts[0][index] if index < split else parts[1][index - split]

    labels = np.repeat(np.arange(2, dtype=np.int32), [len(part) for part in parts])
    return Reviews(LazyTexts(len(labels), read), labels, ("neg", "pos"))


def _table(path: Path, text: str, label: str, encoding: str | None) -> Reviews:
    encoding = encoding or "utf-8"
    names: list[str] = []
    for line, row in read_rows(path, (text, label), encoding=encoding):
        for column in (text, label):
            _check_filled(row[column], column, f"{path}, line {line}")
        names.append(str(row[label]).strip())
    if not names:
        raise ValueError(f"{path} has no rows after its header")
    table = open_table(path, (text,), encoding=encoding, check=False)
    labels, classes = _encode_labels(names, label, str(path))
    return Reviews(LazyTexts(len(labels), lambda i: str(table[i][text])), labels, classes)


def _check_filled(value: Any, column: str, where: str) -> None:
    if value is None or not str(value).strip():
        raise ValueError(f"{where}: expected a {column}, got nothing")


def _check_classes(classes: Sequence[str], label: str, where: str) -> None:
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise ValueError(
            f"{where}: expected 2 to {MOST_CLASSES} classes in the column {label!r}, got "
            f"{len(classes)}: {', '.join(map(repr, classes[:5]))} …"
        )


def _encode_labels(
    names: Sequence[str], label: str, where: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The class index of each row, and the sorted classes."""
    classes = tuple(sorted(set(names), key=_numbers_first))
    _check_classes(classes, label, where)
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[name] for name in names], np.int32), classes


def _numbers_first(name: str) -> tuple[bool, float, str]:
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name


def _class_folders(folder: Path, encoding: str | None) -> Reviews:
    found = [child for child in sorted(folder.iterdir()) if child.is_dir()]
    if {"pos", "neg"} <= {child.name for child in found}:  # aclImdb also has unlabelled ones
        found = [child for child in found if child.name in ("pos", "neg")]
    files = [sorted(child.glob("*.txt")) for child in found]
    if len(found) < 2 or not any(files):
        raise ValueError(f"{folder}: {LAYOUTS}")
    for child, texts in zip(found, files, strict=True):
        if not texts:
            raise ValueError(f"{child} has no .txt files: expected one file per text")
    paths = [path for texts in files for path in texts]
    labels = np.repeat(np.arange(len(files), dtype=np.int32), [len(texts) for texts in files])

    def read(index: int) -> str:
        raw = paths[index].read_bytes()
        if not raw.strip():
            raise ValueError(f"{paths[index]} is empty: expected a text")
        return decode(raw, encoding or "utf-8", paths[index])

    return Reviews(LazyTexts(len(paths), read), labels, tuple(child.name for child in found))


def _saved(path: Path, text: str, label: str) -> ReviewSource:
    try:
        data = optional("datasets").load_from_disk(str(path))
    except IndexError as error:  # raised by datasets for a part without rows
        raise ValueError(f"{path} has a part with no rows: expected some in each") from error
    return _from_datasets(data, text, label, str(path))


def _from_datasets(data: Any, text: str, label: str, name: str) -> ReviewSource:
    parts = data if isinstance(data, dict) else {"train": data}
    if "train" not in parts:
        raise ValueError(f"{name}: expected a part 'train', got {', '.join(map(repr, parts))}")
    reviews = {
        part: _from_dataset(parts[part], text, label, f"{name}, part {part!r}")
        for part in ("train", "test")
        if part in parts
    }
    return _matched(reviews["train"], reviews.get("test"), name)


def _from_dataset(part: Any, text: str, label: str, name: str) -> Reviews:
    for column in (text, label):
        if column not in part.column_names:
            columns = ", ".join(map(repr, part.column_names))
            raise ValueError(f"{name}: no column {column!r} in {columns}")
    if not len(part):
        raise ValueError(f"{name} has no rows: expected a text and a label in each")
    part = part.with_format(None).select_columns([text, label])
    values = []
    for number, row in enumerate(part):
        for column in (text, label):
            _check_filled(row[column], column, f"{name}, row {number}")
        values.append(row[label])
    labels, classes = _dataset_labels(values, part.features[label], label, name)
    return Reviews(LazyTexts(len(part), lambda i: str(part[i][text])), labels, classes)


def _dataset_labels(
    values: list[Any], feature: Any, label: str, name: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels by the names that the dataset has for them, or by what they are."""
    classes = tuple(getattr(feature, "names", None) or ())
    if not classes:
        return _encode_labels([str(value).strip() for value in values], label, name)
    labels = np.asarray(values, np.int32)
    if labels.min() < 0:
        raise ValueError(f"{name}: some rows have no label (-1): use a labelled part")
    _check_classes(classes, label, name)
    _check_classes([classes[number] for number in np.unique(labels)], label, name)
    return labels, classes


def _matched(train: Reviews, test: Reviews | None, where: Any) -> ReviewSource:
    if test is not None and test.classes != train.classes:
        raise ValueError(
            f"{where}: the training part has the classes {train.classes} and the test part "
            f"{test.classes}; they must be the same"
        )
    return ReviewSource(train, test)


def select_texts(texts: Texts, rows: Sequence[int] | np.ndarray) -> Iterator[str]:
    """The texts with these indices, one in memory at a time."""
    return (texts[int(row)] for row in rows)
