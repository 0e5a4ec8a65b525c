"""Checkpoints by orbax: written atomically; the last two and the best are kept."""

import gc
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from rnnjax._checks import check_choice, is_int
from rnnjax._extras import optional
from rnnjax._random import is_key
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

_LATEST = 2  # checkpoints kept, besides the best
_WORST = -sys.float_info.max  # the score of a checkpoint that is not the best so far


class Checkpoints:
    """The checkpoints of one run: `folder/checkpoints/STEP`."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        """Open the checkpoints in a run's folder, or create the folder for them."""
        ocp = optional("orbax.checkpoint")
        policies = ocp.checkpoint_managers
        options = ocp.CheckpointManagerOptions(
            best_fn=_score,  # orbax writes no metrics without it
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(_LATEST),
                    policies.BestN(
                        get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False
                    ),
                ]
            ),
            cleanup_tmp_directories=not read_only,  # left by a killed run
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
          score: its evaluation, higher is better; None if it was not evaluated, or is not the best
            so far.
        """
        rest = state._replace(params=None, average=None)
        items = {"params": state.params, "rest": rest}
        if state.average is not None:
            items["average"] = state.average
        # Copied, because the next step donates the buffers of the state.
        save = self._ocp.args.StandardSave
        arguments = {name: save(jax.tree.map(jnp.copy, _raw(it))) for name, it in items.items()}
        self._manager.save(
            step,
            args=self._ocp.args.Composite(**arguments),
            metrics={"score": _WORST if score is None else max(score, _WORST)},
            force=True,
        )

    def latest(self) -> int | None:
        """The step of the last complete checkpoint; None if there is none."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The step of the best checkpoint, the last if several tie; None if none was evaluated."""
        scores = {step: _score(self._manager.metrics(step)) for step in self._manager.all_steps()}
        evaluated = (step for step, score in scores.items() if score > _WORST)
        return max(evaluated, key=lambda step: (scores[step], step), default=None)

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Restore the state saved at a step, with the structure and dtypes of `like`."""
        items = {"params": like.params, "rest": like._replace(params=None, average=None)}
        if like.average is not None:
            items["average"] = like.average
        found = self.restore_items(step, items)
        return found["rest"]._replace(params=found["params"], average=found.get("average"))

    def restore_items(self, step: int, items: dict[str, PyTree]) -> dict[str, PyTree]:
        """Restore items by name, each with the structure and dtypes of the tree given for it.

        Raises:
          ValueError: an item was saved with other leaves or shapes.
          OSError: the checkpoint is damaged.
        """
        restore = self._ocp.args.StandardRestore
        abstract = {name: jax.tree.map(_abstract, _raw(item)) for name, item in items.items()}
        # Compared here: orbax gives up halfway, with warnings about what it had begun to read.
        for name, item in abstract.items():
            with self._reading(step):
                saved = self._saved(step, name)
            _check_shapes(saved, _shapes(item))
        arguments = self._ocp.args.Composite(**{name: restore(it) for name, it in abstract.items()})
        with self._reading(step):
            found = self._manager.restore(step, args=arguments)
        return {name: _wrapped(found[name], item) for name, item in items.items()}

    @contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        """Say of whatever orbax raises that the checkpoint is damaged, and what to do."""
        try:
            yield
            return
        except Exception as error:
            why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
            gc.collect()  # coroutines that orbax began and did not await
        raise OSError(
            f"the checkpoint {self.folder / str(step)} is damaged: delete it to go on from the one "
            f"before, or from the beginning if there is none ({why})"
        )

    def _saved(self, step: int, name: str) -> dict[str, tuple[int, ...]]:
        handler = self._ocp.StandardCheckpointHandler()
        return _shapes(handler.metadata(self.folder / str(step) / name).tree)

    def close(self) -> None:
        """Wait until all checkpoints are written."""
        self._manager.close()


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
    """Shapes by dotted path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    keystr = jax.tree_util.keystr
    return {
        keystr(path, simple=True, separator="."): tuple(leaf.shape)
        for path, leaf in leaves
        if hasattr(leaf, "shape")
    }


def _check_shapes(saved: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]]) -> None:
    for path in sorted(saved.keys() | wanted.keys()):
        if saved.get(path) != wanted.get(path):
            was, now = (
                f"of shape {shapes[path]}" if path in shapes else "absent"
                for shapes in (saved, wanted)
            )
            raise ValueError(f"{path} is {was} in the checkpoint, {now} in the task")


def _score(metrics: dict[str, float]) -> float:
    return metrics["score"]


def _raw(tree: PyTree) -> PyTree:
    """Convert PRNG keys in the tree to their integer data."""
    return jax.tree.map(lambda x: _key_data(x) if is_key(x) else x, tree)


def _key_data(key: Any) -> Any:
    if isinstance(key, jax.Array):
        return jax.random.key_data(key)
    return jax.eval_shape(jax.random.key_data, key)


def _wrapped(tree: PyTree, like: PyTree) -> PyTree:
    def wrap(x: Any, old: Any) -> Any:
        return jax.random.wrap_key_data(x, impl=jax.random.key_impl(old)) if is_key(old) else x

    return jax.tree.map(wrap, tree, like)


def _abstract(x: Any) -> jax.ShapeDtypeStruct:
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device)


def load(
    folder: Path | str, task: Task, *, which: Literal["last", "best"] = "last", member: int = 0
) -> Params:
    """Load the trained params of a run: their exponential moving average if one was kept.

    It can be called while the run is in progress.

    Args:
      folder: of the run, as given to `fit`.
      task: the task that was trained, made with the same options, which determine the structure.
      which: the last checkpoint, or the best by the task's metric.
      member: which of the run's seeds, counted from 0.

    Returns:
      Params as `task.init` returns them.

    Raises:
      FileNotFoundError: no run in the folder, or no checkpoint yet.
      OSError: the checkpoint is damaged.
      ValueError: an unknown `which`; a member out of range; params of another shape than the
        task's; data with other words or classes than those of the run.
      ImportError: a package of `rnnjax[training]` is missing.
    """
    check_choice("which", which, ("last", "best"))
    folder = Path(folder)
    config = read_config(folder)
    if config.get(NAMES) != names_of(task).get(NAMES):
        raise ValueError(f"the run in {folder} {OTHER_NAMES}")
    settings = config["settings"]
    seeds = settings["seeds"]
    if not is_int(member):
        raise TypeError(f"member must be an int, got {member!r} ({type(member).__name__})")
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
            params = checkpoints.restore_items(step, {item: jax.eval_shape(init)})[item]
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"the params in {folder} do not fit task {task.name!r} with these options: make it "
                f"with the options in {folder / CONFIG} ({error})"
            ) from error
    return params if seeds == 1 else jax.tree.map(lambda x: x[member], params)
