"""`rnnjax train TASK`: one command per task, with flags made from its factory and `Settings`."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from rnnjax._checks import check_choice
from rnnjax.experiments._fields import Field, fields_of
from rnnjax.experiments.cli._output import errors_of
from rnnjax.experiments.cli._plan import read_toml, task_in
from rnnjax.experiments.tasks import TASKS, Recipe, TaskEntry
from rnnjax.experiments.training import CONFIG, Settings

_TASK, _TRAINING, _RUN = "Task options", "Training", "Run"
_TASK_DEFAULT = "task default"  # shown where the value is known only once the data are loaded

_RUN_OPTIONS: dict[str, tuple[Any, Any]] = {
    "out": (
        Annotated[
            Path | None,
            typer.Option(
                help="Folder for config.toml, metrics, checkpoints and results.",
                show_default="runs/TASK",
                rich_help_panel=_RUN,
            ),
        ],
        None,
    ),
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
                min=0,
                help="Steps between measurements of the gradient flow, which are logged; 0: off.",
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


def task_command(name: str) -> Any:
    """Make the command that trains a task; exits with 2 if there is no such task."""
    with errors_of("train"):
        entry = TASKS[check_choice("TASK", name, TASKS)]
    app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
    app.command(name, help=_explanation(entry), short_help=entry.summary)(_command(name, entry))
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
            RunOptions(**{name: values[name] for name in _RUN_OPTIONS}),
        )

    recipe = _recipe_defaults(entry)
    parameters = [
        *(_parameter(field, _TASK, field.default) for field in options.values()),
        *(
            _parameter(field, _TRAINING, recipe.get(field.name, field.default))
            for field in settings.values()
        ),
        *(_keyword(name, *declared) for name, declared in _RUN_OPTIONS.items()),
    ]
    _declare(command, parameters)
    return command


def _is_given(ctx: typer.Context, name: str) -> bool:
    source: Any = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _recipe_defaults(entry: TaskEntry) -> dict[str, Any]:
    """The task's recipe; a placeholder for each field if making the task needs data."""
    if entry.kind == "synthetic":
        return entry.make().recipe._asdict()
    return dict.fromkeys(Recipe._fields, _TASK_DEFAULT)


def _parameter(field: Field, panel: str, shown: Any) -> inspect.Parameter:
    """Make a flag. Only flags that are given are used; the default is only for the help."""
    kind: Any = field.kind | None
    text = field.help.replace("<", r"\<")  # Markdown would drop <unk> as an HTML tag
    if shown == _TASK_DEFAULT:
        option = typer.Option(help=text, rich_help_panel=panel, show_default=shown)
        return _keyword(field.name, Annotated[kind, option], None)
    option = typer.Option(help=text, rich_help_panel=panel, show_default=shown is not False)
    return _keyword(field.name, Annotated[bool if field.kind is bool else kind, option], shown)


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
    """The factory's docstring without the sections that the flags repeat."""
    text = inspect.getdoc(entry.make) or entry.summary
    before, found, after = text.partition("\nArgs:")
    if not found:
        return text
    _, _, references = after.partition("\nReferences:\n")
    return f"{before}\n**References:** {inspect.cleandoc(references)}" if references else before
