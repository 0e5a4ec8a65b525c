"""What XLA does to a call when its arrays are divided among devices.

XLA cannot see into a compiled kernel, and would gather all of its arrays on every device. A call
that treats the examples of a batch, or the members of an ensemble, independently is made here by
each device on its own part.
"""

import math
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import jax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from rnnjax._types import PyTree

_Axes = list[int | None]  # of every array, in the order of the leaves


def along(call: Callable[..., Any], axes: PyTree, out_axes: PyTree) -> Callable[..., Any]:
    """`call(*operands)`, made by each device on its part of the batch.

    Args:
      call: a function of arrays.
      axes: a tree prefix of the tuple of operands that says which axis is the batch; None for
        arrays that every device needs the whole of.
      out_axes: the same for the result; None for sums over the batch.
    """

    if jax.device_count() == 1:
        return call

    def partitioned(*operands: Any) -> Any:
        leaves, tree = jax.tree.flatten(operands)
        shapes, out_tree = jax.tree.flatten(jax.eval_shape(call, *operands))

        def flat(*leaves: Any) -> tuple[Any, ...]:
            return tuple(jax.tree.leaves(call(*jax.tree.unflatten(tree, leaves))))

        ins = _axis_of_each(axes, operands)
        outs = _axis_of_each(out_axes, jax.tree.unflatten(out_tree, shapes))
        made = custom_partitioning(flat)
        _define(made, flat, ins, outs, [len(x.shape) for x in (*leaves, *shapes)])
        return jax.tree.unflatten(out_tree, made(*leaves))

    return partitioned


def _axis_of_each(axes: PyTree, tree: PyTree) -> _Axes:
    each = jax.tree.map(
        lambda axis, part: [axis] * len(jax.tree.leaves(part)),
        axes,
        tree,
        is_leaf=lambda node: node is None,
    )
    return jax.tree.leaves(each, is_leaf=lambda node: node is None)


def _define(made: Any, flat: Callable[..., Any], ins: _Axes, outs: _Axes, ranks: list[int]) -> None:
    """How the call is partitioned, and how shardings propagate through it."""

    def partition(mesh: Any, operands: Any, results: Any) -> Any:
        names = _names_along(mesh, ins, operands)

        def sharding(axis: int | None) -> NamedSharding:
            spec = [] if axis is None else [None] * axis + [names]
            return NamedSharding(mesh, PartitionSpec(*spec))

        def on_a_part(*leaves: Any) -> tuple[Any, ...]:
            out = flat(*leaves)
            if names is None:
                return out
            return tuple(
                jax.lax.psum(x, names) if axis is None else x
                for x, axis in zip(out, outs, strict=True)
            )

        return mesh, on_a_part, tuple(map(sharding, outs)), tuple(map(sharding, ins))

    rule, whole = _rule(ins, outs, ranks)
    made.def_partition(
        partition,
        sharding_rule=rule,
        need_replication_factors=whole,
        reduction_factors=() if any(axis is not None for axis in outs) else ("batch",),
    )


def _names_along(mesh: Any, ins: _Axes, operands: Any) -> Any:
    """The axes of the mesh that the batch is divided along, in equal parts; None if it is not."""
    for axis, x in zip(ins, operands, strict=True):
        spec = getattr(x.sharding, "spec", ())
        if axis is not None and axis < len(spec) and spec[axis] is not None:
            names = spec[axis] if isinstance(spec[axis], tuple) else (spec[axis],)
            parts = math.prod(mesh.shape[name] for name in names)
            # XLA fills up unequal parts with whatever is there, which a sum would take in.
            return names if x.shape[axis] % parts == 0 else None
    return None


def _rule(ins: _Axes, outs: _Axes, ranks: list[int]) -> tuple[str, tuple[str, ...]]:
    """Shardy's rule, in the manner of einsum: one factor is the batch, all others stay whole."""
    fresh: Iterator[str] = (f"whole{i}" for i in count())
    whole: list[str] = []
    terms: list[str] = []
    for axis, rank in zip(ins + outs, ranks, strict=True):
        term = ["batch" if i == axis else next(fresh) for i in range(rank)]
        whole += [factor for factor in term if factor != "batch"]
        terms.append(" ".join(term))
    n = len(ins)
    return f"{', '.join(terms[:n])} -> {', '.join(terms[n:])}", tuple(whole)
