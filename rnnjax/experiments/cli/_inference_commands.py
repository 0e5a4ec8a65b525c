"""The commands for inference with a trained model, and their options."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rnnjax.experiments.cli._numbers import LARGEST_SEED, real, whole

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run of rnnjax train.")]
Best = Annotated[
    bool,
    typer.Option(
        "--best",
        help="The best checkpoint instead of the last: that of a series by its validation part, of "
        "other tasks by the data that they are evaluated on.",
    ),
]
Member = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=whole(0),
        help="Index of the model in a run with several seeds, from 0.",
        show_default="0",
    ),
]


def _as_trained(text: str) -> Any:
    return typer.Option(help=text, show_default="as in training")


def generate(
    run: Run,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="Beginning of the text.")] = "",
    length: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Characters to generate, or words for a word-level model.",
        ),
    ] = 500,
    temperature: Annotated[
        float,
        typer.Option(
            metavar="X",
            parser=real,
            help="Softmax temperature: above 1 more random, below 1 less.",
        ),
    ] = 1.0,
    top_k: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            parser=whole(1),
            help="Sample from the K most likely symbols only.",
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            parser=real,
            help="Nucleus sampling: from the most likely symbols of this total mass.",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(metavar="N", parser=whole(0, LARGEST_SEED), help="Seed of the sampling."),
    ] = 0,
    best: Best = False,
    member: Member = None,
) -> None:
    """Generate text from a prompt with a trained language model.

    rnnjax generate runs/language --prompt "ROMEO:" --length 300 --temperature 0.8
    """
    from rnnjax.experiments.cli import _inference

    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    _inference.generate(_inference.Trained(run, best, member), prompt, length, seed, **options)


def caption(
    run: Run,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    beams: Annotated[int, typer.Option(metavar="N", parser=whole(1), help="Beam width.")] = 3,
    figure: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also draw the images and the attention for each word into this file.",
        ),
    ] = None,
    best: Best = False,
    member: Member = None,
) -> None:
    """Caption images with a model trained on captioned images.

    rnnjax caption runs/caption dog.jpg beach.jpg --figure looked.png
    """
    from rnnjax.experiments.cli import _inference

    _inference.caption(_inference.Trained(run, best, member), images, beams, figure)


def classify(
    run: Run,
    things: Annotated[
        list[str] | None,
        typer.Argument(metavar="THING...", help="Texts in quotes, or image or sound files."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with one text per line, blank lines included; - for standard input.",
        ),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of --file.", show_default="utf-8")
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="For images with dark ink on a bright background.")
    ] = False,
    best: Best = False,
    member: Member = None,
) -> None:
    """Classify texts, images or sounds, whichever the model was trained on.

    rnnjax classify runs/sentiment "a film to remember" "two hours too long"
    """
    from rnnjax.experiments.cli import _inference

    trained = _inference.Trained(run, best, member)
    _inference.classify(trained, things or [], file, encoding, invert=invert)


def transcribe(
    run: Run,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="WAV files.")],
    best: Best = False,
    member: Member = None,
) -> None:
    """Transcribe the words in sound files with a model trained on speech with CTC."""
    from rnnjax.experiments.cli import _inference

    _inference.transcribe(_inference.Trained(run, best, member), files)


def forecast(
    run: Run,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Steps to forecast.",
            show_default="horizon of the task",
        ),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table with a series to forecast instead of the one trained on; - for standard "
            "input.",
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column of --history: its name, or with --no-header its number, from 0.",
            show_default="the column trained on",
        ),
    ] = None,
    header: Annotated[
        bool | None,
        _as_trained(
            "Whether the first line of --history names the columns; if not, they are called 0, 1, "
            "2 …"
        ),
    ] = None,
    decimal: Annotated[str | None, _as_trained("Decimal mark of the numbers in --history.")] = None,
    thousands: Annotated[
        str | None, _as_trained("What separates groups of three digits in --history.")
    ] = None,
    percent: Annotated[
        bool | None, _as_trained("Whether every number in --history ends in %.")
    ] = None,
    missing: Annotated[
        str | None, _as_trained("Missing values of --history: error, or previous for forward fill.")
    ] = None,
    encoding: Annotated[str | None, _as_trained("Encoding of --history.")] = None,
    best: Best = False,
    member: Member = None,
) -> None:
    """Forecast the next values of a series, one step per line.

    A table of --history is read as the one of the training was, where no option says otherwise.
    """
    from rnnjax.experiments.cli import _inference

    _inference.forecast(
        _inference.Trained(run, best, member),
        steps,
        history,
        column=column,
        header=header,
        decimal=decimal,
        thousands=thousands,
        percent=percent,
        missing=missing,
        encoding=encoding,
    )


COMMANDS = (generate, caption, classify, transcribe, forecast)
