"""A plan: a task, its options and settings, from flags, a TOML file, or a run's folder."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from rnnjax._checks import check_choice
from rnnjax.experiments._extended import EXTENDED, Extension, extensions
from rnnjax.experiments._fields import Field, checked, fields_of
from rnnjax.experiments._parsing import read_toml_file
from rnnjax.experiments.tasks import TASKS, Task
from rnnjax.experiments.training import CONFIG, Settings

_TABLES = ("task", "options", "settings", "run", "versions", EXTENDED)
_RUN_FIELDS = {
    "flow_every": Field("flow_every", int, True, "", None),
    "tensorboard": Field("tensorboard", bool, False, "", False),
}


class Plan(NamedTuple):
    """What to train, and how; holds only what was given."""

    task: str  # a key of TASKS
    options: dict[str, Any]  # of the task's factory
    settings: dict[str, Any]  # fields of Settings
    run: Mapping[str, Any] = MappingProxyType({})  # flow_every and tensorboard
    extended: Sequence[Extension] = ()  # of a run that was given more steps


def read_plan(path: Path) -> Plan:
    """Read a plan from a TOML file, such as a run's `config.toml`, or from a run's folder.

        task = "parity"
        [options]
        hidden = 64
        [settings]
        steps = 1000
        [run]
        flow_every = 200
        tensorboard = true

    Raises:
      FileNotFoundError: no such file.
      ValueError: the file is not TOML, or has an unknown name or a value of the wrong type.
    """
    content = read_toml(path)
    task = task_in(content, path)
    for name in content:
        check_choice(f"{path}: a table", name, _TABLES)
    tables = {name: content.get(name, {}) for name in ("options", "settings", "run")}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ValueError(f"{path}: {name} must be a table, [{name}], got {table!r}")
    return Plan(
        task,
        checked(tables["options"], fields_of(TASKS[task].make), f"{path}, [options]"),
        checked(tables["settings"], fields_of(Settings), f"{path}, [settings]"),
        checked(tables["run"], _RUN_FIELDS, f"{path}, [run]"),
        _extended(content, path),
    )


def _extended(content: Mapping[str, Any], path: Path) -> Sequence[Extension]:
    try:
        return extensions(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file, or the config in a run's folder."""
    path = path / CONFIG if path.is_dir() else path
    try:
        return read_toml_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None


def task_in(content: Mapping[str, Any], path: Path) -> str:
    """The task named in the content of a file; ValueError if there is none."""
    if "task" not in content:
        raise ValueError(f'{path} names no task: expected a line such as task = "parity"')
    return check_choice(f"{path}: task", content["task"], TASKS)


def with_flags(
    plan: Plan,
    options: Mapping[str, Any],
    settings: Mapping[str, Any],
    run: Mapping[str, Any] = MappingProxyType({}),
) -> Plan:
    """The plan, overridden by flags of the command line."""
    return Plan(
        plan.task,
        {**plan.options, **options},
        {**plan.settings, **settings},
        {**plan.run, **run},
    )


def full_options(plan: Plan) -> dict[str, Any]:
    """All options of the plan's task, including defaults; paths are made absolute."""
    defaults = {name: field.default for name, field in fields_of(TASKS[plan.task].make).items()}
    return {name: _absolute(value) for name, value in {**defaults, **plan.options}.items()}


def make_task(plan: Plan) -> Task:
    """Make the plan's task."""
    make: Callable[..., Task] = TASKS[plan.task].make
    return make(**full_options(plan))


def _absolute(value: Any) -> Any:
    return value.absolute() if isinstance(value, Path) else value
