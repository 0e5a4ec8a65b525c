"""Labelled texts such as reviews: readers of tables, folders and saved datasets."""

import codecs
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from rnnjax._arguments import check_choice, checked_arguments
from rnnjax._extras import optional
from rnnjax._names import option
from rnnjax.experiments._effects import check_no_effect
from rnnjax.experiments.data._tables import COMPRESSED, KINDS, kind_of, read_rows
from rnnjax.experiments.data._text_files import check_unicode, decode, open_lines
from rnnjax.experiments.data.text._labels import check_classes, encode_labels
from rnnjax.experiments.data.text._stored_texts import store_texts

HUB = {  # names of `--dataset`, and their repositories on the Hugging Face hub
    "imdb": "stanfordnlp/imdb",
    "yelp": "fancyzhx/yelp_polarity",
    "yelp-stars": "Yelp/yelp_review_full",
}
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


class _Columns(NamedTuple):
    """Where texts and labels are in a table or a saved dataset."""

    text: str
    label: str
    header: bool = True  # whether a table's first line names its columns


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
    path: str | Path,
    *,
    text: str = "text",
    label: str = "label",
    header: bool = True,
    encoding: str | None = None,
) -> ReviewSource:
    """Open labelled texts on disk, in any of the usual layouts.

    Texts of a table are copied into an unnamed temporary file; other texts are read from where they
    are. Only the location and label of each are kept in memory.

    Args:
      path: a table or a folder; the error message lists the layouts. Tables may be compressed:
        .csv.gz.
      text, label: the columns of a table or a saved dataset.
      header: whether the first line of a CSV or TSV names the columns; if not, they are called "0",
        "1", ….
      encoding: of the files, whose byte order marks are left out; None for UTF-8, and for Latin-1
        in the pair of files of rt-polarity that have no such mark.

    Returns:
      A `ReviewSource`.

    Raises:
      FileNotFoundError: path does not exist.
      ValueError: an unknown layout or a malformed file; the error gives the file, the line, and
        what was expected there; classes that differ only in spelling; an option that has no effect
        in this layout.
    """
    path = Path(path)
    columns = _Columns(text, label, header)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if path.is_file():
        return ReviewSource(_table(path, columns, encoding), None)
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        given = {"header": header, "encoding": encoding}
        check_no_effect(open_reviews, given, f"on a saved dataset, which {path} is")
        return _saved(path, columns)
    if train := _table_file(path, "train"):
        test = _table_file(path, "test")
        return _matched(
            _table(train, columns, encoding),
            _table(test, columns, encoding) if test else None,
            path,
        )
    check_no_effect(open_reviews, columns._asdict(), f"without a table, which {path} has not")
    negative, positive = (sorted(path.glob(f"*.{ending}")) for ending in ("neg", "pos"))
    if len(negative) == len(positive) == 1:
        return ReviewSource(_pair(negative[0], positive[0], encoding), None)
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
    load = optional("datasets").load_dataset  # whose import sets what is logged
    try:
        with _quiet("huggingface_hub"):  # about each retry
            found = load(HUB[name])
    except ConnectionError as error:
        raise ConnectionError(
            f"{name} cannot be downloaded: {error}. Give reviews of your own, a file or a folder, "
            f"by {option('data')}"
        ) from error
    return _from_datasets(found, _Columns("text", "label"), HUB[name])


@contextmanager
def _quiet(library: str) -> Iterator[None]:
    """Let a library log errors alone."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _table_file(folder: Path, part: str) -> Path | None:
    endings = [f"{kind}{compressed}" for kind in KINDS for compressed in ("", *COMPRESSED)]
    found = [file for ending in endings if (file := folder / f"{part}{ending}").exists()]
    if len(found) > 1:
        raise ValueError(
            f"{folder}: expected one table of the {part} part, got "
            f"{' and '.join(file.name for file in found)}: move all but one away"
        )
    return found[0] if found else None


def _by_mark(path: Path) -> str:
    """UTF-8 if a file begins with its byte order mark, else Latin-1."""
    with path.open("rb") as file:
        return "utf-8" if file.read(3) == codecs.BOM_UTF8 else "latin-1"


def _pair(negative: Path, positive: Path, encoding: str | None) -> Reviews:
    parts = [open_lines(file, encoding or _by_mark(file)) for file in (negative, positive)]
    split = len(parts[0])

    def read(index: int) -> str:
        return parts[0][index] if index < split else parts[1][index - split]

    labels = np.repeat(np.arange(2, dtype=np.int32), [len(part) for part in parts])
    return Reviews(LazyTexts(len(labels), read), labels, ("neg", "pos"))


def _table(path: Path, columns: _Columns, encoding: str | None) -> Reviews:
    if kind_of(path) is None:
        raise ValueError(
            f"{path}: expected a folder, or a table whose name ends in {', '.join(KINDS)}"
        )
    names: list[str] = []

    def texts() -> Iterator[str]:
        rows = read_rows(
            path,
            (columns.text, columns.label),
            encoding=encoding or "utf-8",
            header=columns.header,
        )
        for line, row in rows:
            where = f"{path}, line {line}"
            text, label = (_filled(row[name], name, where) for name in columns[:2])
            names.append(label.strip())
            yield text

    stored = store_texts(texts())
    labels, classes = encode_labels(names, f"{path}, column {columns.label!r}")
    return Reviews(stored, labels, classes)


def _filled(value: Any, column: str, where: str) -> str:
    """A text or label as a string, if it holds anything that can be written."""
    text = "" if value is None else str(value)
    if not text.strip():
        raise ValueError(f"{where}: expected a {column}, got nothing")
    check_unicode(text, f"{where}: the {column}")
    return text


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
    check_classes(
        {child.name: len(texts) for child, texts in zip(found, files, strict=True)}, f"{folder}"
    )
    paths = [path for texts in files for path in texts]
    labels = np.repeat(np.arange(len(files), dtype=np.int32), [len(texts) for texts in files])

    def read(index: int) -> str:
        raw = paths[index].read_bytes()
        text = decode(raw, encoding or "utf-8", paths[index], first=True)
        if not text.strip():
            raise ValueError(f"{paths[index]} is empty: expected a text")
        return text

    return Reviews(LazyTexts(len(paths), read), labels, tuple(child.name for child in found))


def _saved(path: Path, columns: _Columns) -> ReviewSource:
    try:
        data = optional("datasets").load_from_disk(str(path))
    except IndexError as error:  # raised by datasets for a part without rows
        raise ValueError(f"{path} has a part with no rows: expected some in each") from error
    return _from_datasets(data, columns, str(path))


def _from_datasets(data: Any, columns: _Columns, name: str) -> ReviewSource:
    parts = data if isinstance(data, dict) else {"train": data}
    if "train" not in parts:
        raise ValueError(f"{name}: expected a part 'train', got {', '.join(map(repr, parts))}")
    reviews = {
        part: _from_dataset(parts[part], columns, f"{name}, part {part!r}")
        for part in ("train", "test")
        if part in parts
    }
    return _matched(reviews["train"], reviews.get("test"), name)


def _from_dataset(part: Any, columns: _Columns, name: str) -> Reviews:
    text, label, _ = columns
    for column in (text, label):
        if column not in part.column_names:
            names = ", ".join(map(repr, part.column_names))
            raise ValueError(f"{name}: no column {column!r} in {names}")
    if not len(part):
        raise ValueError(f"{name} has no rows: expected a text and a label in each")
    part = part.with_format(None).select_columns([text, label])
    values = []
    for number, row in enumerate(part):
        for column in (text, label):
            _filled(row[column], column, f"{name}, row {number}")
        values.append(row[label])
    labels, classes = _dataset_labels(values, part.features[label], f"{name}, column {label!r}")
    return Reviews(LazyTexts(len(part), lambda i: str(part[i][text])), labels, classes)


def _dataset_labels(
    values: list[Any], feature: Any, where: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels by the names that the dataset has for them, or by what they are."""
    classes = tuple(getattr(feature, "names", None) or ())
    if not classes:
        return encode_labels([str(value).strip() for value in values], where)
    labels = np.asarray(values, np.int32)
    if labels.min() < 0:
        raise ValueError(f"{where}: some rows have no label (-1): use a labelled part")
    counts = np.bincount(labels, minlength=len(classes))
    check_classes(dict(zip(classes, counts.tolist(), strict=True)), where)
    check_classes({classes[k]: int(counts[k]) for k in np.flatnonzero(counts)}, where)
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
