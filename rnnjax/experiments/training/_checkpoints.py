"""The checkpoints of a run: one file each; the last two and the best are kept."""

import math
import re
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._files import left_partials
from rnnjax._random import is_key
from rnnjax._types import PyTree
from rnnjax.experiments.training._archive import (
    DamagedError,
    leaf_paths,
    read_about,
    read_archive,
    write_archive,
)
from rnnjax.experiments.training._config import CHECKPOINTS, CONFIG, DATA, RESULTS
from rnnjax.experiments.training._log import METRICS
from rnnjax.experiments.training._step import TrainState

_LATEST = 2  # checkpoints kept, besides the best
_NAME = re.compile(r"(\d+)\.npz")


class Saved(NamedTuple):
    """A checkpoint that can be read, and what was written into it."""

    step: int
    about: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run: `folder/checkpoints/STEP.npz`."""

    def __init__(self, folder: Path, about: Mapping[str, Any] | None = None) -> None:
        """Open the checkpoints in a run's folder.

        Args:
          folder: of the run.
          about: what to write into each checkpoint besides the state; None to read only.
        """
        self.folder = folder.absolute() / CHECKPOINTS
        self._about = about
        self._writing: threading.Thread | None = None
        self._failed: BaseException | None = None
        self._spent = 0.0
        self._scores: dict[int, float | None] = {}
        if about is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in (CONFIG, DATA, METRICS, RESULTS, f"{CHECKPOINTS}/*.npz"):
                for partial in left_partials(folder / name):  # by a killed run
                    partial.unlink()

    def path(self, step: int) -> Path:
        """The file of the checkpoint of a step."""
        return self.folder / f"{step}.npz"

    def steps(self) -> list[int]:
        """The steps of all checkpoints, in order."""
        if not self.folder.is_dir():
            return []
        names = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(name[1]) for name in names if name)

    def save(
        self,
        step: int,
        state: TrainState,
        score: float | None,
        totals: PyTree = None,
        seconds: float = 0.0,
    ) -> None:
        """Copy the state, and write it in the background.

        Args:
          step: the number of steps taken.
          state: a `TrainState`.
          score: its evaluation, higher is better; None if it was not evaluated, or is not the best
            so far.
          totals: sums over the steps since the last log entry; None if there are none.
          seconds: spent so far.

        Raises:
          OSError: the one before could not be written.
        """
        began = time.perf_counter()
        self._wait()
        trees = {"params": state.params, "average": state.average, "totals": totals}
        trees["rest"] = state._replace(params=None, average=None)
        # Copied, because the next step donates the buffers of the state.
        trees = jax.tree.map(np.array, jax.device_get(_raw(trees)))
        about = {**(self._about or {}), "step": step, "score": score, "seconds": seconds}
        thread = threading.Thread(target=self._write, args=(step, trees, about, began))
        self._writing = thread
        thread.start()

    def seconds_spent(self) -> float:
        """What the last checkpoint took, infinity while it is being written."""
        if self._writing is not None and self._writing.is_alive():
            return math.inf
        return self._spent

    def _write(
        self, step: int, trees: dict[str, PyTree], about: dict[str, Any], began: float
    ) -> None:
        try:
            write_archive(self.path(step), trees, about)
            self._scores[step] = about["score"]
            steps = self.steps()
            kept = {*steps[-_LATEST:], step, self.best()}
            for old in steps:
                if old not in kept:
                    self.path(old).unlink(missing_ok=True)
            self._spent = time.perf_counter() - began
        except BaseException as error:
            self._failed = error

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        if self._failed is not None:
            error, self._failed = self._failed, None
            raise error

    def latest(self) -> Saved | None:
        """The last checkpoint that is intact; None if there is no checkpoint at all.

        A warning names each later one that is damaged.

        Raises:
          DamagedError: all checkpoints are damaged.
        """
        steps, damaged = self.steps(), []
        for step in reversed(steps):
            try:
                read_archive(self.path(step), ("params", "average", "totals", "rest"))
                found = Saved(step, read_about(self.path(step)))
            except DamagedError as error:
                damaged.append(error)
                continue
            except FileNotFoundError:  # replaced by a later one while being read
                continue
            for error in damaged:
                warnings.warn(f"{error}: taking {found.step}.npz, the one before", stacklevel=2)
            return found
        if damaged:
            raise DamagedError(
                f"{damaged[0]}, and no other checkpoint is intact: put one back from a copy, or "
                f"delete {self.folder} to begin again"
            )
        return None

    def best(self) -> int | None:
        """The step of the best checkpoint, the last if several tie; None if none was evaluated.

        Raises:
          DamagedError: a checkpoint is damaged.
        """
        for step in self.steps():
            if step not in self._scores:
                try:
                    self._scores[step] = read_about(self.path(step))["score"]
                except (DamagedError, FileNotFoundError):
                    self._scores[step] = None
        scores = {step: score for step, score in self._scores.items() if score is not None}
        return max(scores, key=lambda step: (scores[step], step), default=None)

    def resume(self, step: int, like: TrainState) -> TrainState:
        """As `restore`; damaged checkpoints of later steps are renamed to `STEP.damaged`."""
        try:
            state = self.restore(step, like)
        except ValueError as error:
            raise ValueError(f"{self.path(step)} does not fit the task: {error}") from None
        for later in self.steps():
            if later > step:
                self.path(later).replace(self.folder / f"{later}.damaged")
        return state

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Restore the state saved at a step.

        Raises:
          ValueError: it was saved with other leaves, shapes or dtypes than `like` has.
          DamagedError: the checkpoint is damaged.
        """
        items = {
            "params": like.params,
            "average": like.average,
            "rest": like._replace(params=None, average=None),
        }
        found = self.restore_items(step, items, same_dtypes=True)
        return found["rest"]._replace(params=found["params"], average=found["average"])

    def restore_totals(self, step: int, like: PyTree) -> PyTree:
        """The totals saved with the state of a step, as NumPy arrays; `like` if there are none."""
        found = read_archive(self.path(step), ("totals",))["totals"]
        if not found:
            return like
        _check(found, like, same_dtypes=True)
        leaves = (found[path] for path in leaf_paths(like))
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    def restore_items(
        self, step: int, items: dict[str, PyTree], *, same_dtypes: bool = False
    ) -> dict[str, PyTree]:
        """Restore items by name, each with the structure and dtypes of the tree given for it.

        Raises:
          ValueError: an item was saved with other leaves or shapes, or dtypes if those count.
          DamagedError: the checkpoint is damaged.
        """
        found = read_archive(self.path(step), tuple(items))
        return {name: _restored(found[name], item, same_dtypes) for name, item in items.items()}

    def close(self) -> None:
        """Wait until all checkpoints are written.

        Raises:
          OSError: the last one could not be written.
        """
        self._wait()


def _restored(found: dict[str, np.ndarray], like: PyTree, same_dtypes: bool) -> PyTree:
    raw = jax.eval_shape(_raw, like)
    _check(found, raw, same_dtypes)
    wanted = zip(leaf_paths(raw), jax.tree.leaves(raw), strict=True)
    # Copied, because JAX may keep a view of an array that it cannot own.
    leaves = [jnp.array(found[path].astype(leaf.dtype)) for path, leaf in wanted]
    tree = jax.tree.unflatten(jax.tree.structure(raw), leaves)

    def wrap(x: Any, old: Any) -> Any:
        return jax.random.wrap_key_data(x, impl=jax.random.key_impl(old)) if is_key(old) else x

    return jax.tree.map(wrap, tree, like)


def _check(found: dict[str, np.ndarray], like: PyTree, same_dtypes: bool) -> None:
    wanted = dict(zip(leaf_paths(like), jax.tree.leaves(like), strict=True))
    for path in sorted(found.keys() | wanted.keys()):
        was, now = found.get(path), wanted.get(path)
        if was is None or now is None or was.shape != now.shape:
            was, now = ("absent" if x is None else f"of shape {x.shape}" for x in (was, now))
        elif same_dtypes and was.dtype != now.dtype:
            was, now = was.dtype, now.dtype
        else:
            continue
        kind = was if isinstance(was, np.dtype) else None
        hint = "; JAX_ENABLE_X64 decides" if kind is not None and kind.itemsize in (4, 8) else ""
        raise ValueError(f"{path} is {was} in the checkpoint, {now} in the task{hint}")


def _raw(tree: PyTree) -> PyTree:
    """Convert PRNG keys in the tree to their integer data."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)
