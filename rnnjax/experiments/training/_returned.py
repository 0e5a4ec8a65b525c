"""What the functions of a task and the callbacks return, if it is what they must return."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import described, in_brackets, is_array, is_inexact
from rnnjax._files import json_line
from rnnjax._types import Array, Carry, Params, PyTree
from rnnjax.experiments.tasks import Task

_LOSS = "a loss must return (cost, (carry, metrics)), such as (cost, (carry, {}))"


def loss_returned(returned: Any) -> tuple[Array, tuple[Carry, dict[str, Array]]]:
    """`returned` by a loss, if it is a scalar, a carry and further scalars by name."""
    if not _is_pair(returned) or not _is_pair(returned[1]):
        raise TypeError(f"{_LOSS}, got {described(returned)}")
    cost, (carry, metrics) = returned
    if not isinstance(metrics, Mapping):
        raise TypeError(f"{_LOSS}, got metrics that are {described(metrics)}")
    for what, value in [("cost", cost), *((f"metric {name!r}", x) for name, x in metrics.items())]:
        if np.shape(value) != ():
            raise ValueError(
                f"the {what} of a loss must be a scalar, got {described(value)}: take its mean "
                "over the batch"
            )
    if not jnp.issubdtype(jnp.result_type(cost), jnp.floating):
        raise TypeError(f"the cost of a loss must be a real float, got {described(cost)}")
    return cost, (carry, dict(metrics))


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2


def check_trainable(params: Any) -> None:
    """Raise TypeError unless all leaves of params can be trained."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        if not is_array(leaf) or not is_inexact(leaf):
            raise TypeError(
                f"params{jax.tree_util.keystr(path)} is {described(leaf)}: params are what is "
                "trained, floats; keep all else outside of them"
            )


def check_stacked(batches: PyTree, count: int) -> None:
    """Raise ValueError unless the leaves of batches have a leading axis of that size."""
    for leaf in jax.tree.leaves(batches):
        if np.shape(leaf)[:1] != (count,):
            raise ValueError(
                f"the leaves of accumulate = {count} batches must have a leading axis of that "
                f"size, got {described(leaf)}: stack them, as by jax.tree.map(lambda *x: "
                "jnp.stack(x), *batches)"
            )


def check_terms(terms: Array) -> Array:
    """`terms`, if they are a number for each batch."""
    if terms.ndim != 1:
        raise ValueError(
            "terms must return one number for a batch, of how many its cost is a mean, got "
            f"{terms.dtype}{in_brackets(terms.shape[1:])}"
        )
    return terms


def check_same_form(new: Carry, old: Carry, *, dtypes: bool = True) -> None:
    """Raise ValueError unless the carry that a loss returned has the form of the one it took."""

    def form(carry: Carry) -> Any:
        return jax.tree.structure(carry), [
            _form(leaf) if dtypes else np.shape(leaf) for leaf in jax.tree.leaves(carry)
        ]

    if form(new) != form(old):
        hint = ": give its beginning as Task(initial_carry=...)" if old is None else ""
        raise ValueError(
            "a loss must return a carry of the form of the one it took, "
            f"{jax.tree.map(_form, old)}, got {jax.tree.map(_form, new)}{hint}"
        )


def _form(leaf: Any) -> str:
    return f"{jnp.result_type(leaf)}{in_brackets(np.shape(leaf))}"


def scores_of(task: Task, params: Params) -> dict[str, float]:
    """`task.evaluate(params)`, if it is numbers by name and has the metrics that the task names.

    Raises:
      TypeError: no mapping, or a score that is no number.
      ValueError: the metric is missing.
    """
    found = task.evaluate(params)
    if not isinstance(found, Mapping):
        raise TypeError(
            f"task.evaluate must return scores by name, such as {{{task.metric.name!r}: 0.5}}, got "
            f"{described(found)}"
        )
    for field, metric in (("metric", task.metric), ("select", task.select)):
        if metric is not None and metric.name not in found:
            raise ValueError(
                f"task.evaluate must return the score {metric.name!r} that task.{field} names, got "
                f"{described(dict(found))}"
            )
    return {name: _number(name, value) for name, value in found.items()}


def _number(name: str, value: Any) -> float:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biufV":
        raise TypeError(
            f"the score {name!r} that task.evaluate returns must be a number, got "
            f"{described(value)}"
        )
    return float(array.reshape(()))


def as_logged(value: Any) -> str:
    """`value` as it is written into the log; TypeError if it cannot be."""
    return json_line(jax.tree.map(np.asarray, value))


def callback_returned(returned: Any) -> dict[str, Any]:
    """`returned` by a callback, if it is something to log by name; nothing for None."""
    if returned is None:
        return {}
    if not isinstance(returned, Mapping):
        raise TypeError(
            "a callback must return what to log by name, such as {'norm': 1.0}, or None, got "
            f"{described(returned)}"
        )
    for name, value in returned.items():
        try:
            as_logged(value)
        except TypeError:
            raise TypeError(
                f"a callback must return numbers, or lists of them, to log, got {name!r}: "
                f"{described(value)}"
            ) from None
    return dict(returned)
