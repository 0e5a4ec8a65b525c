"""Inference with a trained model: `rnnjax generate`, `caption`, `classify` and the like."""

import inspect
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax._names import option
from rnnjax.experiments.cli._output import errors_of, show_rows
from rnnjax.experiments.cli._plan import read_plan
from rnnjax.experiments.cli._printing import say, say_text
from rnnjax.experiments.data import Column, read_column
from rnnjax.experiments.data._tables import kind_of
from rnnjax.experiments.data._text_files import likely_encoding
from rnnjax.experiments.data.series import READING, format_values
from rnnjax.experiments.training import CONFIG, TrainedModel, load_model, read_config

_FIGURE_SIDE = 128  # pixels along a side of each image in a figure
_STANDARD_INPUT = "standard input"  # in the place of a file's name


class Trained(NamedTuple):
    """A run's folder, and which of its params to load."""

    folder: Path
    best: bool = False  # the best checkpoint instead of the last
    member: int | None = None  # index among the seeds of the run; None: the first, which is said

    def infer(self, name: str) -> Callable[..., Any]:
        """`TrainedModel.infer[name]`, from the folder of the run alone.

        Raises:
          FileNotFoundError: no run in the folder.
          ValueError: the task has no such inference; the message names those that it has.
        """
        return self.model(name).infer[name]

    def model(self, name: str) -> TrainedModel:
        """The trained model, which can do `name`; raises as `infer` does."""
        if not (self.folder / CONFIG).is_file():
            raise FileNotFoundError(
                f"{self.folder} holds no run: expected a folder with a {CONFIG}, as written by "
                "rnnjax train"
            )
        which = "best" if self.best else "last"
        model = load_model(self.folder, which=which, member=self.member or 0)
        if name not in model.infer:
            able = " or ".join(f"rnnjax {use}" for use in model.infer) or "nothing but training"
            raise ValueError(
                f"{self.folder} holds a run of {model.task!r}, which cannot {name}: it is for "
                f"{able}"
            )
        return model

    def say_which(self) -> None:
        """Say, after what a command printed, that it is of the first of several models."""
        seeds = read_config(self.folder)["settings"]["seeds"]
        if seeds > 1 and self.member is None:
            another = f"{option('member')} takes another"
            say(f"by the first of the {seeds} models of {self.folder}; {another}", err=True)


def generate(run: Trained, prompt: str, length: int, seed: int, **sampling: Any) -> None:
    """Print a prompt and the model's continuation."""
    with errors_of("generate"):
        say_text(run.infer("generate")(prompt, length, key=jax.random.key(seed), **sampling))
        run.say_which()


def caption(run: Trained, images: Sequence[Path], beams: int, figure: Path | None) -> None:
    """Print a caption for each image, and draw a figure of them if a file is given."""
    with errors_of("caption"):
        paths, describe = _existing(images), run.infer("caption")
        found = [describe(path, beams=beams, looked=True) for path in paths]
        show_rows(
            ("image", "caption"),
            [(str(path), each.caption) for path, each in zip(paths, found, strict=True)],
        )
        if figure is not None:
            from rnnjax.experiments.data import read_image
            from rnnjax.experiments.report import CaptionRow, write_captions

            rows = [
                CaptionRow(read_image(path, _FIGURE_SIDE), each.caption, attention=each.looked)
                for path, each in zip(paths, found, strict=True)
            ]
            figure.parent.mkdir(parents=True, exist_ok=True)
            say(f"the figure is in {write_captions(rows, figure)}", err=True)
        run.say_which()


def classify(
    run: Trained,
    things: Sequence[str],
    file: Path | None,
    encoding: str | None = None,
    **options: Any,
) -> None:
    """Print a class and its probability for each text, image or sound file."""
    with errors_of("classify"):
        label_all = run.infer("classify")
        of_texts = "texts" in inspect.signature(label_all).parameters
        if encoding is not None and file is None:
            raise ValueError("--encoding is that of --file: name the file there")
        if file is not None and not of_texts:
            raise ValueError("--file is for runs that classify texts: name the files themselves")
        if of_texts:
            _say_files(things)
        things = [*things, *(_lines(file, encoding or "utf-8") if file is not None else [])]
        if not things:
            raise ValueError(f"expected {'texts' if of_texts else 'files'} to classify, got none")
        inputs = things if of_texts else _existing(things)
        found = label_all(inputs, **_supported(label_all, options))
        rows = [
            (label, f"{share:.3f}", thing)
            for (label, share), thing in zip(found, things, strict=True)
        ]
        show_rows(("class", "probability", "of"), rows, right=(1,))
        run.say_which()


def _say_files(texts: Sequence[str]) -> None:
    """Say of each text that is the name of a file how to classify what is in the file."""
    for text in filter(os.path.isfile, texts):
        say(
            f"{text!r} is classified as a text, and there is a file of this name: "
            f"{option('file')} {shlex.quote(text)} classifies its lines",
            err=True,
        )


def transcribe(run: Trained, files: Sequence[Path]) -> None:
    """Print the words in each sound file."""
    with errors_of("transcribe"):
        paths = _existing(files)
        words = run.infer("transcribe")(paths)
        show_rows(("file", "words"), list(zip(map(str, paths), words, strict=True)))
        run.say_which()


def forecast(run: Trained, steps: int | None, history: Path | None, **reading: Any) -> None:
    """Print the forecast values, one step per line; `reading` says how to read the history."""
    with errors_of("forecast"):
        reading = {name: value for name, value in reading.items() if value is not None}
        if reading and history is None:
            flag = option(next(iter(reading)))
            raise ValueError(f"{flag} needs --history: name the table there")
        model = run.model("forecast")
        predict = model.infer["forecast"]
        options: dict[str, Any] = {} if steps is None else {"steps": steps}
        if history is None:
            if "values" in model.data:
                say(_continued(model, run), err=True)
            values = np.asarray(predict(**options))
        else:
            _supported(predict, {"history": history})
            known = _history(run, history, {"column": model.data.get("column"), **reading})
            if known.note:
                say(known.note, err=True)
            source = _STANDARD_INPUT if _is_piped(history) else history
            with _naming(f"{source}, column {known.name!r}"):
                values = np.asarray(predict(history=known.values, **options))
        for line in _lines_of(values, model.data.get("scale")):
            say(line)
        run.say_which()


def _lines_of(values: np.ndarray, scale: float | None) -> list[str]:
    """A line for each step: with the digits that tell values of a series of this scale apart."""
    if scale is not None:
        return format_values(values, scale)
    return [" ".join(f"{value:.6g}" for value in row) for row in values.reshape(len(values), -1)]


def _continued(model: TrainedModel, run: Trained) -> str:
    """What is continued without --history: the whole series as it was at the training."""
    return (
        f"after the last of the {model.data['values']:,} values of the series of {run.folder}, "
        f"whose first {model.data['training']:,} were for training; --history FILE continues newer "
        "ones"
    )


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Say in a ValueError what it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def _history(run: Trained, path: Path, given: Mapping[str, Any]) -> Column:
    """Read a column of a table as that of the training was read, or as is given."""
    options = read_plan(run.folder).options
    trained = {name: options[name] for name in READING if name in options}
    if not _is_piped(path):
        return read_column(path, **{**trained, **given})
    with tempfile.TemporaryDirectory() as folder:
        ending = kind_of(options["csv"]) if "csv" in options else None
        copy = Path(folder) / f"{_STANDARD_INPUT}.{ending or 'csv'}"
        copy.write_bytes(sys.stdin.buffer.read())
        try:
            column = read_column(copy, **{**trained, **given})
        except ValueError as error:
            raise ValueError(str(error).replace(str(copy), _STANDARD_INPUT)) from None
    return column._replace(
        values=np.array(column.values), note=column.note.replace(str(copy), _STANDARD_INPUT)
    )


def _is_piped(path: Path) -> bool:
    return str(path) == "-"


def _supported(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """The options that are not None or False; ValueError if the function does not take one."""
    wanted = {name: value for name, value in options.items() if value is not None}
    wanted = {name: value for name, value in wanted.items() if value is not False}
    for name in wanted:
        if name not in inspect.signature(function).parameters:
            raise ValueError(f"a run of this task has no --{name}")
    return wanted


def _existing(names: Sequence[str | Path]) -> list[Path]:
    """Convert names to paths; FileNotFoundError if a file does not exist."""
    paths = [Path(name) for name in names]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
    return paths


def _lines(path: Path, encoding: str) -> list[str]:
    """Read texts from a file, one per line, blank ones too; from standard input for `-`."""
    piped = _is_piped(path)
    raw = sys.stdin.buffer.read() if piped else path.read_bytes()
    try:
        text = raw.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise ValueError(
            f"{option('encoding', encoding)} is not known: try utf-8 or latin-1"
        ) from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{_STANDARD_INPUT if piped else path}: expected text in {encoding.upper()}, got the "
            f"byte 0x{raw[error.start]:02x} in line {line}: give its encoding, such as "
            f"{option('encoding', likely_encoding(raw))}"
        ) from None
    lines = re.split(r"\r\n|\r|\n", text)
    return lines if lines[-1] else lines[:-1]
