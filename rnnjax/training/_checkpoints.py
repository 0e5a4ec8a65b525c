"""Checkpoints by orbax: written whole or not at all, the last few and the best kept."""

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._extras import optional
from rnnjax._types import PyTree
from rnnjax.training._step import TrainState

CHECKPOINTS = "checkpoints"
_LATEST = 2  # kept, besides the best


class Checkpoints:
    """The checkpoints of one run: `folder/checkpoints/STEP`."""

    def __init__(self, folder: Path) -> None:
        """Open, or make, those of a run's folder."""
        ocp = optional("orbax.checkpoint")
        policies = ocp.checkpoint_managers
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(_LATEST),
                    policies.BestN(
                        get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False
                    ),
                ]
            ),
            cleanup_tmp_directories=True,
        )
        self._ocp = ocp
        self.folder = (folder / CHECKPOINTS).absolute()
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, step: int, state: TrainState, score: float | None) -> None:
        """Copy the state, and write it in the background.

        Args:
          step: the number of steps taken.
          state: a `TrainState`.
          score: how good an evaluation found it, more is better; None: not evaluated.
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
            metrics=None if score is None else {"score": score if score == score else -math.inf},
            force=True,
        )

    def latest(self) -> int | None:
        """The step of the last checkpoint that is whole; None if there is none."""
        return self._manager.latest_step()

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state saved at a step, in the structure and dtypes of `like`."""
        items = {"params": like.params, "rest": like._replace(params=None, average=None)}
        if like.average is not None:
            items["average"] = like.average
        found = self._restore(step, items)
        return found["rest"]._replace(params=found["params"], average=found.get("average"))

    def _restore(self, step: int, items: dict[str, PyTree]) -> dict[str, PyTree]:
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
