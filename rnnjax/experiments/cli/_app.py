"""The commands of `rnnjax` and their options; what they run is imported when they are called."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnjax._names import nearest, nearest_of
from rnnjax._version import __version__
from rnnjax.experiments.cli._help import Command, Group
from rnnjax.experiments.cli._illustrate import illustrate
from rnnjax.experiments.cli._inference_commands import COMMANDS
from rnnjax.experiments.cli._numbers import LARGEST_SEED, whole
from rnnjax.experiments.cli._printing import say

_UsageError: Any = typer.BadParameter.__base__


class _Commands(Group):
    """Lists `train` first; typer would list it last, since it is a group."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands."""
        return sorted(super().list_commands(ctx), key=lambda name: name != "train")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is asked for; a usage error with the nearest if there is none."""
        names = self.list_commands(ctx)
        if args[0] not in names:
            instead = nearest(args[0], names) or _train_it(args[0]) or ""
            ctx.fail(f"there is no command {args[0]!r}{instead}")
        return super().resolve_command(ctx, args)


def _train_it(name: str) -> str | None:
    """The end of an error about a command that is the name of a task."""
    from rnnjax.experiments.cli._train_commands import task_names

    task = nearest_of(name, task_names())
    return f"; did you mean rnnjax train {task}?" if task else None


app = typer.Typer(
    name="rnnjax",
    cls=_Commands,
    help="Recurrent networks in JAX, and how their gradients flow.\n\n"
    "Errors are printed in one line; set the environment variable RNNJAX_TRACEBACK to see "
    "tracebacks.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; wrong use prints one line and returns 2."""
    try:
        return app(list(arguments) or ["--help"], prog_name="rnnjax", standalone_mode=False) or 0
    except _UsageError as error:
        path = error.ctx.command_path if error.ctx else "rnnjax"
        message = _message(error)
        if message:  # empty if the help has just been shown
            say(f"{path}: {message} (see {path} --help)", err=True, color="red")
        return 2
    except typer.Abort:
        return 130


def _message(error: Any) -> str:
    """What is wrong with a command line; names the nearest flag if one does not exist."""
    unknown = getattr(error, "option_name", None)
    if unknown is None or not hasattr(error, "possibilities"):
        return error.format_message().rstrip(".")
    flags = [flag for param in error.ctx.command.params for flag in param.opts]
    near = nearest_of(unknown, [flag for flag in flags if flag.startswith("--")])
    return f"there is no option {unknown}" + (f"; did you mean {near}?" if near else "")


def _version(wanted: bool) -> None:
    if wanted:
        say(f"rnnjax {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


class _TaskCommands(Group):
    """The commands of `rnnjax train`, made on demand: importing the tasks takes a second."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all tasks."""
        from rnnjax.experiments.cli._train_commands import task_names

        return task_names()

    def summaries(self, ctx: Any) -> list[tuple[str, str]]:
        """A line on each task."""
        from rnnjax.experiments.cli._train_commands import task_summaries

        return task_summaries()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command that trains one task."""
        from rnnjax.experiments.cli._train_commands import task_command

        return task_command(cmd_name)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the task named by --config, or by the run to resume, if none is given."""
        from rnnjax.experiments.cli._train_commands import with_task

        return super().parse_args(ctx, with_task(args))


train = typer.Typer(cls=_TaskCommands)
app.add_typer(train, name="train")


@train.callback()
def _train() -> None:
    """Train a task; `rnnjax train TASK --help` lists its options.

        rnnjax train parity --hidden 64             trains one
        rnnjax train --config FOLDER/config.toml    repeats a run
        rnnjax train --out FOLDER --resume          continues it after Ctrl-C or a kill

    A run writes config.toml, its metrics, checkpoints and results into its folder.
    """


@app.command(cls=Command)
def tasks() -> None:
    """List the tasks with their metrics and sources."""
    from rnnjax.experiments.cli._info import show_tasks

    show_tasks()


for _command in (*COMMANDS, illustrate):
    app.command(cls=Command)(_command)


@app.command(cls=Command)
def compare(
    task: Annotated[
        str, typer.Option(metavar="TASK", help="Task to train them on; rnnjax tasks lists all.")
    ] = "digits",
    cells: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Comma-separated names of cells, of those that the default lists.",
        ),
    ] = "vanilla,irnn,identity_rnn,lstm_1997,lstm,gru",
    hidden: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Hidden units of every cell.",
            show_default="64, or 16 with --quick",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Training steps.",
            show_default="1500, or 100 with --quick",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(metavar="N", parser=whole(1), help="Seeds to train at once (vmapped).")
    ] = 1,
    seed: Annotated[
        int,
        typer.Option(metavar="N", parser=whole(0, LARGEST_SEED), help="The first seed."),
    ] = 0,
    gradient: Annotated[
        str,
        typer.Option(metavar="NAME", help="How to differentiate: bptt (hand-derived) or autodiff."),
    ] = "bptt",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for metrics.json and the figures.",
            show_default="runs/compare, or runs/compare_TASK",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small, short run as a check.")] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TOML file with task options in a table [options], such as the data.",
        ),
    ] = None,
) -> None:
    """Train cells on the same real images and compare how their gradients flow.

    The images are the 1,797 handwritten digits of UCI, read pixel by pixel: 64 steps, one class
    at the end. Every cell gets the same seeds, batches, gradient clipping and optimizer: Adam with
    warm-up and cosine decay from a peak of 0.01 (0.001 for the IRNN, whose units all die at 0.01).
    ‖∂C/∂h_t‖, singular values, sensitivity and Lyapunov exponents are measured before and after
    training, of the first seed.

    Recurrent weights are initialized orthogonal in the gated cells, uniform on ±1/√H (PyTorch's
    default) in the vanilla cell, and as the identity in the IRNN and the identity net.

    --task compares them on any other task that exposes its recurrent cell, with one unidirectional
    layer, and Adam at the peak rate of the task's recipe (a tenth of it for the IRNN).

    Results are written as each cell finishes, over those of an earlier comparison in the folder;
    Ctrl-C keeps those written so far.
    """
    from rnnjax.experiments.cli._compare import run_compare
    from rnnjax.experiments.training import ComparisonSettings

    settings = ComparisonSettings(seeds=seeds, seed=seed, gradient=gradient)
    if quick:
        settings = settings._replace(hidden=16, steps=100, flow_examples=8)
    run_compare(
        cells,
        settings._replace(hidden=hidden or settings.hidden, steps=steps or settings.steps),
        out or Path("runs") / ("compare" if task == "digits" else f"compare_{task}"),
        task,
        config,
    )


@app.command(cls=Command)
def curves(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs of rnnjax train.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The figure: .png, .pdf, .svg …")
    ] = Path("runs/curves.png"),
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Metric to draw, by its name in metrics.jsonl.",
            show_default="that of the task",
        ),
    ] = None,
) -> None:
    """Draw the learning curves of runs of one task: training cost and held-out metric.

    Baselines that all the runs share are drawn beside them.

    rnnjax curves runs/adding_lstm runs/adding_vanilla --out adding.png
    """
    from rnnjax.experiments.cli._curves import draw_curves

    draw_curves(runs, out, metric)


@app.command(cls=Command)
def flow(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Folder of a run of rnnjax train, or a file of flow.watch."
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The figure: .png, .pdf, .svg …")
    ] = Path("runs/flow.png"),
    eigenvalues: Annotated[
        bool,
        typer.Option(
            "--eigenvalues",
            help="Draw the eigenvalues of W_h instead, at the first and the last measurement.",
        ),
    ] = False,
) -> None:
    """Draw the gradient flow over training that rnnjax train --flow-every N has logged.

    By layer: gradient norms by lag, the largest Lyapunov exponent, spectral radii of the recurrent
    weights, and saturation. Of a run with several seeds, those of the first.

    rnnjax train adding --flow-every 25 && rnnjax flow runs/adding --out flow.png
    """
    from rnnjax.experiments.cli._flow import draw_flow

    draw_flow(run, out, eigenvalues)


@app.command(cls=Command)
def doctor() -> None:
    """Print versions, devices, and which methods and extras are available, or why not."""
    from rnnjax.experiments.cli._info import run_doctor

    run_doctor()
