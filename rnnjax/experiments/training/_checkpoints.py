"""Checkpoints by orbax: written whole or not at all, the last few and the best kept."""

import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from rnnjax._checks import check_choice
from rnnjax._extras import optional
from rnnjax._types import Params, PyTree
from rnnjax.experiments.tasks import Task
from rnnjax.experiments.training._config import (
    CHECKPOINTS,
    CONFIG,
    NAMES,
    OTHER_NAMES,
    names_of,
    read_config,
)
from rnnjax.experiments.training._step import TrainState

_LATEST = 2  # kept, besides the best
_WORST = -sys.float_info.max  # the score of what is not the best so far


class Checkpoints:
    """The checkpoints of one run: `folder/checkpoints/STEP`."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        """Open, or make, those of a run's folder."""
        ocp = optional("orbax.checkpoint")
        policies = ocp.checkpoint_managers
        options = ocp.CheckpointManagerOptions(
            best_fn=_score,  # without which no metrics are written
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(_LATEST),
                    policies.BestN(
                        get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False
                    ),
                ]
            ),
            cleanup_tmp_directories=not read_only,  # what a killed run has left
            create=not read_only,
        )
        self._ocp = ocp
        self.folder = (folder / CHECKPOINTS).absolute()
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, step: int, state: TrainState, score: float | None) -> None:
        """Copy the state, and write it in the background.

        Args:
          step: the number of steps taken.
          state: a `TrainState`.
          score: how good an evaluation found it, more is better; None: not evaluated, or no
            better than one before.
        """
        rest = state._replace(params=None, average=None)
        items = {"params": state.params, "rest": rest}
        if state.average is not None:
            items["average"] = state.average
        # The copies outlive the state, whose arrays the next step takes over.
        save = self._ocp.args.StandardSave
        arguments = {name: save(jax.tree.map(jnp.copy, _raw(it))) for name, it in items.items()}
        self._manager.save(
            step,
            args=self._ocp.args.Composite(**arguments),
            metrics={"score": _WORST if score is None else max(score, _WORST)},
            force=True,
        )

    def latest(self) -> int | None:
        """The step of the last checkpoint that is whole; None if there is none."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The step of the best checkpoint, the last of several; None if none was evaluated."""
        scores = {step: _score(self._manager.metrics(step)) for step in self._manager.all_steps()}
        evaluated = (step for step, score in scores.items() if score > _WORST)
        return max(evaluated, key=lambda step: (scores[step], step), default=None)

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state saved at a step, in the structure and dtypes of `like`."""
        items = {"params": like.params, "rest": like._replace(params=None, average=None)}
        if like.average is not None:
            items["average"] = like.average
        found = self.restored(step, items)
        return found["rest"]._replace(params=found["params"], average=found.get("average"))

    def restored(self, step: int, items: dict[str, PyTree]) -> dict[str, PyTree]:
        """Items by name, each in the structure and dtypes of what is given for it."""
        restore = self._ocp.args.StandardRestore
        abstract = {name: jax.tree.map(_abstract, _raw(item)) for name, item in items.items()}
        arguments = self._ocp.args.Composite(**{name: restore(it) for name, it in abstract.items()})
        found = self._manager.restore(step, args=arguments)
        return {name: _wrapped(found[name], item) for name, item in items.items()}

    def close(self) -> None:
        """Wait until everything is written."""
        self._manager.close()


def _score(metrics: dict[str, float]) -> float:
    return metrics["score"]


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _raw(tree: PyTree) -> PyTree:
    """The tree with PRNG keys as their numbers."""
    return jax.tree.map(lambda x: _key_data(x) if _is_key(x) else x, tree)


def _key_data(key: Any) -> Any:
    if isinstance(key, jax.Array):
        return jax.random.key_data(key)
    return jax.eval_shape(jax.random.key_data, key)


def _wrapped(tree: PyTree, like: PyTree) -> PyTree:
    def wrap(x: Any, old: Any) -> Any:
        return jax.random.wrap_key_data(x, impl=jax.random.key_impl(old)) if _is_key(old) else x

    return jax.tree.map(wrap, tree, like)


def _abstract(x: Any) -> jax.ShapeDtypeStruct:
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device)


def load(
    folder: Path | str, task: Task, *, which: Literal["last", "best"] = "last", member: int = 0
) -> Params:
    """The trained params of a run, for inference: its running average where it kept one.

    It may be called while the run goes on.

    Args:
      folder: of the run, as given to `fit`.
      task: the task that it trained, made with the same options: their structure is the task's.
      which: the last checkpoint, or the best one by the task's metric.
      member: which of the run's seeds, counted from 0.

    Returns:
      Params as `task.init` returns them.

    Raises:
      FileNotFoundError: no run in the folder, or no checkpoint yet.
      ValueError: an unknown `which`; a member that there is not; params of another shape than
        the task's; data whose words or classes are no longer those of the run.
      ImportError: without the packages of `rnnjax[training]`.
    """
    check_choice("which", which, ("last", "best"))
    folder = Path(folder)
    config = read_config(folder)
    if config.get(NAMES) != names_of(task).get(NAMES):
        raise ValueError(f"the run in {folder} {OTHER_NAMES}")
    settings = config["settings"]
    seeds = settings["seeds"]
    if not 0 <= member < seeds:
        raise ValueError(f"member must lie in 0..{seeds - 1}, the run's seeds, got {member}")

    def init() -> Params:
        key = jax.random.key(0)
        return task.init(key) if seeds == 1 else jax.vmap(task.init)(jax.random.split(key, seeds))

    item = "average" if settings["average"] else "params"
    with closing(Checkpoints(folder, read_only=True)) as checkpoints:
        step = checkpoints.latest() if which == "last" else checkpoints.best()
        if step is None:
            raise FileNotFoundError(f"{checkpoints.folder} holds no {which} checkpoint yet")
        try:
            params = checkpoints.restored(step, {item: jax.eval_shape(init)})[item]
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"the params in {folder} are not those of task {task.name!r} as it was made here: "
                f"make it with the options in {folder / CONFIG} ({error})"
            ) from error
    return params if seeds == 1 else jax.tree.map(lambda x: x[member], params)
