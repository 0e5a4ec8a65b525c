"""`rnnjax train TASK`: one command per task, with flags made from its factory and `Settings`."""

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from rnnjax._checks import check_choice
from rnnjax.experiments._fields import Field, fields_of
from rnnjax.experiments.cli._help import Command
from rnnjax.experiments.cli._numbers import real, whole
from rnnjax.experiments.cli._output import errors_of
from rnnjax.experiments.cli._plan import read_toml, task_in
from rnnjax.experiments.tasks import TASKS, TaskEntry
from rnnjax.experiments.training import CONFIG, Settings

_TASK, _TRAINING, _RUN = "Task options", "Training", "Run"
_METAVARS = {int: "N", float: "X", str: "NAME", Path: "PATH"}
_PARSERS: dict[type, Callable[[Any], Any]] = {int: whole(), float: real}

_RUN_OPTIONS: dict[str, tuple[Any, Any]] = {
    "resume": (
        Annotated[
            bool,
            typer.Option(
                "--resume",
                help="Continue the run in the folder from its last checkpoint.",
                rich_help_panel=_RUN,
            ),
        ],
        False,
    ),
    "config": (
        Annotated[
            Path | None,
            typer.Option(
                metavar="FILE",
                help="TOML file with options and settings, such as the config.toml of a run; "
                "flags override it.",
                rich_help_panel=_RUN,
            ),
        ],
        None,
    ),
    "flow_every": (
        Annotated[
            int | None,
            typer.Option(
                metavar="N",
                parser=whole(0),
                help="Steps between measurements of the gradient flow, the first before training: "
                "norms by lag, Lyapunov exponent, saturation, spectra of W_h, by layer, of the "
                "first seed. They are logged, and rnnjax flow draws them; 0: off.",
                rich_help_panel=_RUN,
            ),
        ],
        None,
    ),
    "tensorboard": (
        Annotated[
            bool | None,
            typer.Option(
                "--tensorboard/--no-tensorboard",
                help="Write TensorBoard event files.",
                rich_help_panel=_RUN,
            ),
        ],
        None,
    ),
    "quiet": (
        Annotated[bool, typer.Option("--quiet", help="Show no progress.", rich_help_panel=_RUN)],
        False,
    ),
}


def task_names() -> list[str]:
    """The tasks in the order of their table."""
    return list(TASKS)


def task_summaries() -> list[tuple[str, str]]:
    """A line on each task."""
    return [(name, entry.summary) for name, entry in TASKS.items()]


def task_command(name: str) -> Any:
    """Make the command that trains a task; exits with 2 if there is no such task."""
    with errors_of("train"):
        entry = TASKS[check_choice("TASK", name, TASKS)]
    app = typer.Typer(add_completion=False)
    app.command(name, cls=Command, help=_explanation(entry), short_help=entry.summary)(
        _command(name, entry)
    )
    return get_command(app)


def with_task(arguments: Sequence[str]) -> list[str]:
    """Prepend the task to the arguments of `rnnjax train`, if they name a file that gives it."""
    arguments = list(arguments)
    if not arguments or not arguments[0].startswith("-") or "--help" in arguments:
        return arguments
    with errors_of("train"):
        path = _file_of(arguments)
        return [task_in(read_toml(path), path), *arguments]


def _file_of(arguments: Sequence[str]) -> Path:
    """The file that names the task: that of --config, or of the run to resume."""
    config, out = (_value_of(flag, arguments) for flag in ("--config", "--out"))
    for flag, path in (("--config", config), ("--out", out)):
        if path == "":
            raise ValueError(f"{flag} is empty: name a file or folder")
    if config is not None:
        return Path(config)
    if "--resume" not in arguments or out is None:
        raise ValueError(
            f"expected the name of a task before {arguments[0]}, as in rnnjax train parity "
            f"{arguments[0]} (rnnjax tasks lists them), or a --config file that names one"
        )
    if not (Path(out) / CONFIG).is_file():
        raise FileNotFoundError(
            f"{out} holds no run to resume: name its task to start one, as in rnnjax train parity "
            f"--out {out}"
        )
    return Path(out)


def _value_of(flag: str, arguments: Sequence[str]) -> str | None:
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        if argument == flag:
            return following
        if argument.startswith(f"{flag}="):
            return argument.removeprefix(f"{flag}=")
    return None


def _command(name: str, entry: TaskEntry) -> Callable[..., None]:
    """Make a function with one parameter for each option, for typer to inspect."""
    options, settings = fields_of(entry.make), fields_of(Settings)

    def command(ctx: typer.Context, **values: Any) -> None:
        from rnnjax.experiments.cli._train import RunOptions, train

        given = {name: value for name, value in values.items() if _is_given(ctx, name)}
        train(
            name,
            {name: given[name] for name in options if name in given},
            {name: given[name] for name in settings if name in given},
            RunOptions(**{name: values[name] for name in RunOptions._fields}),
        )

    recipe = {**(entry.recipe or entry.make().recipe)._asdict(), **entry.varies}
    parameters = [
        *(_parameter(field, _TASK, field.default) for field in options.values()),
        *(
            _parameter(field, _TRAINING, recipe.get(field.name, field.default))
            for field in settings.values()
        ),
        *(_keyword(name, *declared) for name, declared in _run_options(name).items()),
    ]
    _declare(command, parameters)
    return command


def _is_given(ctx: typer.Context, name: str) -> bool:
    source: Any = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _parameter(field: Field, panel: str, shown: Any) -> inspect.Parameter:
    """Make a flag. Only flags that are given are used; the default is only for the help."""
    text = isinstance(shown, str) and field.kind is not str  # such as "6 epochs"
    option = typer.Option(
        metavar=_METAVARS.get(field.kind),
        parser=_PARSERS.get(field.kind),
        help=field.help,
        rich_help_panel=panel,
        show_default=shown if text else shown is not False,
    )
    kind: Any = bool if field.kind is bool else field.kind | None
    return _keyword(field.name, Annotated[kind, option], None if text else shown)


def _run_options(task: str) -> dict[str, tuple[Any, Any]]:
    """The annotation and default of each flag about the run."""
    out = typer.Option(
        metavar="FOLDER",
        help="Folder for config.toml, metrics, checkpoints and results.",
        show_default=f"runs/{task}",
        rich_help_panel=_RUN,
    )
    return {"out": (Annotated[Path | None, out], None), **_RUN_OPTIONS}


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _declare(command: Callable[..., None], parameters: Iterable[inspect.Parameter]) -> None:
    context = inspect.Parameter(
        "ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
    )
    every = [context, *parameters]
    declared: Any = command
    declared.__signature__ = inspect.Signature(every)
    declared.__annotations__ = {parameter.name: parameter.annotation for parameter in every}


def _explanation(entry: TaskEntry) -> str:
    """The factory's docstring without what the flags repeat, and without calls in Python."""
    before, _, after = (inspect.getdoc(entry.make) or entry.summary).partition("\nArgs:")
    shown = re.sub(r"`infer\[.*?(?=\n\n|\Z)", "", before, flags=re.DOTALL).strip()
    _, found, references = after.partition("\nReferences:\n")
    return f"{shown}\n\nReferences:\n{_entries(references)}" if found else shown


def _entries(references: str) -> str:
    """References as list items; each entry ends a line with its full stop."""
    lines = inspect.cleandoc(references).split("\n")
    ends = [True, *(line.endswith(".") for line in lines)]
    return "\n".join(
        f"{'  ' if begins else '    '}{line}" for line, begins in zip(lines, ends, strict=False)
    )
