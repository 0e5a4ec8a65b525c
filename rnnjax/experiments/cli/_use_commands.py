"""The commands that put a trained net to use, and their options."""

from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run of rnnjax train.")]
Best = Annotated[bool, typer.Option("--best", help="The best checkpoint instead of the last.")]
Member = Annotated[int, typer.Option(min=0, help="Which net of a run with several seeds.")]


def generate(
    run: Run,
    prompt: Annotated[str, typer.Option(help="What the text begins with.")] = "",
    length: Annotated[
        int, typer.Option(min=1, help="Characters to write, or words if it was trained on words.")
    ] = 500,
    temperature: Annotated[
        float, typer.Option(help="Above 1 livelier, below 1 more careful.")
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Choose among the so many likeliest alone.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Choose among the likeliest that have this probability together."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed writes the same text.")] = 0,
    best: Best = False,
    member: Member = 0,
) -> None:
    """Let a trained language model write on after a prompt.

    `rnnjax generate runs/language --prompt "ROMEO:" --length 300 --temperature 0.8`
    """
    from rnnjax.experiments.cli import _use

    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    _use.generate(_use.Trained(run, best, member), prompt, length, seed, **options)


def caption(
    run: Run,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    beams: Annotated[int, typer.Option(min=1, help="Sentences that are followed up at once.")] = 3,
    figure: Annotated[
        Path | None,
        typer.Option(help="Draw the images, and where the net looked, into this file as well."),
    ] = None,
    best: Best = False,
    member: Member = 0,
) -> None:
    """Say in a sentence what is in an image, by a net that was trained on captions.

    `rnnjax caption runs/caption dog.jpg beach.jpg --figure looked.png`
    """
    from rnnjax.experiments.cli import _use

    _use.caption(_use.Trained(run, best, member), images, beams, figure)


def classify(
    run: Run,
    things: Annotated[
        list[str] | None,
        typer.Argument(metavar="THING...", help="Texts in quotes, or image or sound files."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="File with a text in each line; - for standard input."),
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="Of images: dark ink on a bright ground.")
    ] = False,
    best: Best = False,
    member: Member = 0,
) -> None:
    """Name the class of texts, images or sounds, whichever the net was trained on.

    `rnnjax classify runs/sentiment "a film to remember" "two hours too long"`
    """
    from rnnjax.experiments.cli import _use

    _use.classify(_use.Trained(run, best, member), things or [], file, invert=invert)


def transcribe(
    run: Run,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="WAV files.")],
    best: Best = False,
    member: Member = 0,
) -> None:
    """Write down the words in sound files, by a net that was trained on speech with CTC."""
    from rnnjax.experiments.cli import _use

    _use.transcribe(_use.Trained(run, best, member), files)


def forecast(
    run: Run,
    steps: Annotated[
        int | None, typer.Option(min=1, help="How many; the task's horizon if not given.")
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(help="Table whose column is continued instead of the task's own series."),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Of the history; by default the one trained on.")
    ] = None,
    best: Best = False,
    member: Member = 0,
) -> None:
    """Print the values that come next in a series, one step in each line."""
    from rnnjax.experiments.cli import _use

    _use.forecast(_use.Trained(run, best, member), steps, history, column)


COMMANDS = (generate, caption, classify, transcribe, forecast)
