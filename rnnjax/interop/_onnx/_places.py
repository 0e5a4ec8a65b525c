"""Primitives that read or write parts of an array: an embedding, a window, `h.at[:, k].set(x)`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnnjax.interop._onnx._graph import Value
from rnnjax.interop._onnx._site import Site


def _gather(site: Site, x: Value, indices: Value) -> str:
    numbers, (operand, index), graph = site.params["dimension_numbers"], site.operands, site.graph
    axis, rank = (*numbers.start_index_map, -1)[0], index.ndim - 1
    others = tuple(a for a in range(operand.ndim) if a != axis)
    rows = tuple(1 if a == axis else size for a, size in enumerate(operand.shape))
    rest = (*range(axis), *range(axis + rank, operand.ndim - 1 + rank))
    if numbers.start_index_map != (axis,) or numbers.collapsed_slice_dims != (axis,):
        raise NotImplementedError("of other parts than those along one axis")
    site.within_an_example([axis])
    places = graph.op("Squeeze", indices, graph.integers([-1]))
    batching = numbers.operand_batching_dims, numbers.start_indices_batching_dims
    if batching == (others, others) and rank == operand.ndim:
        return graph.op("GatherElements", x, places, axis=axis)  # jnp.take_along_axis
    if numbers.operand_batching_dims or (
        numbers.offset_dims,
        tuple(site.params["slice_sizes"]),
    ) != (
        rest,
        rows,
    ):
        raise NotImplementedError("of other parts than whole rows along one axis")
    return graph.op("Gather", x, places, axis=axis)


def _window(site: Site, starts: Sequence[Value], sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Where a window begins and ends along each axis of the operand, moved to lie within it."""
    if any(isinstance(start, str) for start in starts):
        raise NotImplementedError("at a place that the inputs decide")
    window = []
    for start, size, whole in zip(starts, sizes, site.operands[0].shape, strict=True):
        begin = min(max(int(start), 0), whole - size)
        window.append((begin, begin + size))
    return window


def _dynamic_slice(site: Site, x: Value, *starts: Value) -> Value:
    window = _window(site, starts, site.params["slice_sizes"])
    return _cut(site, x, dict(_cuts(site, window)))


def _dynamic_update_slice(site: Site, x: Value, new: Value, *starts: Value) -> Value:
    window = _window(site, starts, site.operands[1].shape)
    return _written(site, x, _cuts(site, window), lambda _: new)


def _scatter(site: Site, x: Value, indices: Value, new: Value) -> Value:
    """`x.at[..., 3].set(new)`, `x.at[:, 1:3].add(new)` and the like: a window at a known place."""
    numbers, (operand, _, update) = site.params["dimension_numbers"], site.operands
    axes, inserted = numbers.scatter_dims_to_operand_dims, numbers.inserted_window_dims
    if isinstance(indices, str) or np.shape(indices) != (len(axes),):
        raise NotImplementedError("at several places, or at one that the inputs decide")
    sizes, starts = list(update.shape), [0] * operand.ndim
    for axis in inserted:
        sizes.insert(axis, 1)
    for axis, start in zip(axes, np.asarray(indices), strict=True):
        starts[axis] = int(start)
    window = [(start, start + size) for start, size in zip(starts, sizes, strict=True)]
    if any(a < 0 or b > whole for (a, b), whole in zip(window, operand.shape, strict=True)):
        return x  # which jnp leaves as it is
    graph = site.graph
    if inserted:
        new = graph.op("Unsqueeze", new, graph.integers(inserted))
    kind = {"scatter": None, "scatter-add": "Add", "scatter-mul": "Mul"}[site.name]
    return _written(
        site, x, _cuts(site, window), lambda old: graph.op(kind, old, new) if kind else new
    )


def _cuts(site: Site, window: list[tuple[int, int]]) -> list[tuple[int, tuple[int, int]]]:
    """Each axis that is cut, and where."""
    whole = site.operands[0].shape
    cuts = [(axis, cut) for axis, cut in enumerate(window) if cut != (0, whole[axis])]
    site.within_an_example(axis for axis, _ in cuts)
    return cuts


def _cut(site: Site, x: Value, cuts: dict[int, tuple[int, int]]) -> Value:
    if not cuts:
        return x
    starts, ends = zip(*cuts.values(), strict=True)
    return site.graph.op("Slice", x, *map(site.graph.integers, (starts, ends, cuts)))


def _written(
    site: Site, x: Value, cuts: list[tuple[int, tuple[int, int]]], write: Callable[[Value], Value]
) -> Value:
    """x with what `write` makes of a window of it in the window's place, axis by axis."""
    if not cuts:
        return write(x)
    (axis, (start, end)), *others = cuts
    size = site.operands[0].shape[axis]
    parts = [_written(site, _cut(site, x, {axis: (start, end)}), others, write)]
    if start > 0:
        parts.insert(0, _cut(site, x, {axis: (0, start)}))
    if end < size:
        parts.append(_cut(site, x, {axis: (end, size)}))
    return site.graph.op("Concat", *parts, axis=axis)


PLACES: dict[str, Callable[..., Any]] = {
    "gather": _gather,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "scatter": _scatter,
    "scatter-add": _scatter,
    "scatter-mul": _scatter,
}
"""Each primitive by its name; operands that are known when the graph is made come as arrays."""
