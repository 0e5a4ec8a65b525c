"""Trained params and models from the folder of a run."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from rnnjax._arguments import checked_arguments
from rnnjax._checks import check_choice, is_int
from rnnjax._names import option
from rnnjax._types import Array, Params
from rnnjax.experiments._fields import fields_of
from rnnjax.experiments.tasks import TASKS, Model, Task
from rnnjax.experiments.training._archive import DamagedError, read_about
from rnnjax.experiments.training._checkpoints import Checkpoints, Saved
from rnnjax.experiments.training._config import (
    CONFIG,
    DATA,
    check_same_data,
    check_unedited,
    digest_facts,
    read_config,
    read_data,
)

Which = Literal["last", "best"]


class TrainedModel(NamedTuple):
    """A trained model without its data."""

    task: str  # a key of TASKS
    params: Params
    infer: Mapping[str, Callable[..., Any]]  # functions as in Task.infer, with the params bound
    data: Mapping[str, Any]  # facts about the data it was trained on, as Task.data


@checked_arguments
def load_model(folder: Path | str, *, which: Which = "last", member: int = 0) -> TrainedModel:
    """Load a model that `rnnjax train` trained, with nothing but the folder of its run.

    Args:
      folder: of the run.
      which: the last checkpoint, or the best by `Task.select`, or else by the task's metric; of
        several seeds by their mean.
      member: which of the run's seeds, counted from 0.

    Returns:
      A `TrainedModel`: `load_model("runs/series").infer["forecast"](steps=10)`.

    Raises:
      FileNotFoundError: no run in the folder, or no checkpoint yet.
      OSError: all checkpoints are damaged, or the best one if it is asked for.
      ValueError: an unknown `which`; a member out of range; a task of your own; files of the run
        that were edited.
    """
    folder = Path(folder)
    config = read_config(folder)
    entry = TASKS.get(config.get("task", ""))
    if entry is None or "options" not in config:
        raise ValueError(
            f"{folder} holds a run of {config.get('task')!r}, which rnnjax train did not make: use "
            "training.load with its task"
        )
    saved = _chosen(folder, config, which, member)
    facts = read_data(folder)
    if digest_facts(facts) != saved.about["facts"]:
        raise ValueError(f"{folder / DATA} was edited after the run. Put it back as it was")
    defaults = {name: field.default for name, field in fields_of(entry.make).items()}
    options = {**defaults, **config["options"]}
    if entry.restore is None:  # it generates its data
        task = entry.make(**options)
        model = Model(task.init, task.infer)
    else:
        model = entry.restore(facts, **options)
    params = _params(folder, config, saved.step, model.init, member)
    infer = {name: partial(function, params) for name, function in model.infer.items()}
    return TrainedModel(config["task"], params, infer, facts)


def load(folder: Path | str, task: Task, *, which: Which = "last", member: int = 0) -> Params:
    """Load the trained params of a run: their exponential moving average if one was kept.

    It can be called while the run is in progress. A warning names a last checkpoint that is
    damaged, in whose place the one before is loaded. `load_model` needs no task and no data.

    Args:
      folder: of the run, as given to `fit`.
      task: the task that was trained, made with the same options and data.
      which: the last checkpoint, or the best by `Task.select`, or else by the task's metric; of
        several seeds by their mean.
      member: which of the run's seeds, counted from 0.

    Returns:
      Params as `task.init` returns them.

    Raises:
      FileNotFoundError: no run in the folder, or no checkpoint yet.
      OSError: all checkpoints are damaged, or the best one if it is asked for.
      ValueError: an unknown `which`; a member out of range; params of another shape than the
        task's; data with other facts (`Task.data`) than those of the run; a config.toml that was
        edited.
    """
    folder = Path(folder)
    config = read_config(folder)
    saved = _chosen(folder, config, which, member)
    check_same_data(folder, saved.about, task.data)
    return _params(folder, config, saved.step, task.init, member)


def _chosen(folder: Path, config: Mapping[str, Any], which: str, member: int) -> Saved:
    """The checkpoint to load, if it is of the run that the folder says."""
    check_choice("which", which, ("last", "best"))
    seeds = config["settings"]["seeds"]
    if not is_int(member):
        raise TypeError(
            f"{option('member')} must be an int, got {member!r} ({type(member).__name__})"
        )
    if not 0 <= member < seeds:
        raise ValueError(
            f"{option('member')} must lie in 0..{seeds - 1}, the run's seeds, got {member}"
        )
    checkpoints = Checkpoints(folder)
    saved = checkpoints.latest() if which == "last" else _best(checkpoints)
    if saved is None:
        raise FileNotFoundError(f"{checkpoints.folder} holds no {which} checkpoint yet")
    check_unedited(folder, saved.about)
    return saved


def _best(checkpoints: Checkpoints) -> Saved | None:
    """The best checkpoint; an error if one that is damaged may be it."""
    for step in checkpoints.steps():
        try:
            read_about(checkpoints.path(step))
        except DamagedError as error:
            raise DamagedError(
                f"{error}, and may be the best: put it back from a copy, or load the last"
            ) from None
    step = checkpoints.best()
    return None if step is None else Saved(step, read_about(checkpoints.path(step)))


def _params(
    folder: Path,
    config: Mapping[str, Any],
    step: int,
    init: Callable[[Array], Params],
    member: int,
) -> Params:
    seeds = config["settings"]["seeds"]

    def all_members() -> Params:
        key = jax.random.key(0)
        return init(key) if seeds == 1 else jax.vmap(init)(jax.random.split(key, seeds))

    item = "average" if config["settings"]["average"] else "params"
    try:
        params = Checkpoints(folder).restore_items(step, {item: jax.eval_shape(all_members)})[item]
    except ValueError as error:
        raise ValueError(
            f"the params in {folder} do not fit task {config['task']!r} with these options: make "
            f"it with the options in {folder / CONFIG} ({error})"
        ) from error
    return params if seeds == 1 else jax.tree.map(lambda x: x[member], params)
