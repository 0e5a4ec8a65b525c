"""XLA's gather and scatter by NumPy, as JAX's primitives of these names have them.

https://openxla.org/xla/operation_semantics: each place in `indices [..., N]` is the start of a
window in the operand.
"""

from typing import Any

import jax
import numpy as np

_Mode = jax.lax.GatherScatterMode


def gather(x, indices, *, dimension_numbers, slice_sizes, mode, fill_value, **_):
    dims = dimension_numbers
    where, inside = _places(
        x.shape,
        indices,
        slice_sizes,
        mode,
        dims.start_index_map,
        _window(x, (*dims.collapsed_slice_dims, *dims.operand_batching_dims)),
        zip(dims.operand_batching_dims, dims.start_indices_batching_dims, strict=True),
    )
    windows = x[where]
    if mode == _Mode.FILL_OR_DROP:
        windows = np.where(inside, windows, np.asarray(fill_value, x.dtype))
    first = indices.ndim - 1
    return np.moveaxis(windows, range(first, windows.ndim), dims.offset_dims)


def scatter(x, indices, updates, **params):
    def put(new, where, windows):
        if len(windows):
            new[where] = windows if where else windows[0]

    return _scattered(put, x, indices, updates, **params)


def scatter_add(x, indices, updates, **params):
    def add(new, where, windows):
        np.add.at(new, where, windows if where else windows.sum())

    return _scattered(add, x, indices, updates, **params)


def _scattered(put, x, indices, updates, *, dimension_numbers, mode, **_):
    dims = dimension_numbers
    window = _window(x, (*dims.inserted_window_dims, *dims.operand_batching_dims))
    sizes = [1] * x.ndim
    for axis, along in zip(window, dims.update_window_dims, strict=True):
        sizes[axis] = updates.shape[along]
    where, inside = _places(
        x.shape,
        indices,
        sizes,
        mode,
        dims.scatter_dims_to_operand_dims,
        window,
        zip(dims.operand_batching_dims, dims.scatter_indices_batching_dims, strict=True),
    )
    first = indices.ndim - 1
    windows = np.moveaxis(updates, dims.update_window_dims, range(first, updates.ndim))
    inside = np.broadcast_to(inside, windows.shape)
    new = x.copy()
    put(new, tuple(np.broadcast_to(i, windows.shape)[inside] for i in where), windows[inside])
    return new


def _window(x: Any, left_out: Any) -> list[int]:
    return [axis for axis in range(x.ndim) if axis not in left_out]


def _places(
    shape: Any, indices: Any, sizes: Any, mode: Any, axes: Any, window: Any, batching: Any
) -> tuple[tuple[Any, ...], Any]:
    """An index for each axis of the operand, and which windows lie inside it.

    The axes of these indices are those of `indices` but its last, then those of the window.
    """
    batch = indices.shape[:-1]
    starts = [np.zeros(batch, np.int64) for _ in shape]
    for i, axis in enumerate(axes):
        starts[axis] = indices[..., i].astype(np.int64)
    for axis, along in batching:
        line = np.arange(batch[along]).reshape([-1 if a == along else 1 for a in range(len(batch))])
        starts[axis] = np.broadcast_to(line, batch)
    ends = [full - size for full, size in zip(shape, sizes, strict=True)]
    inside = np.ones(batch, bool)
    for start, end in zip(starts, ends, strict=True):
        inside &= (start >= 0) & (start <= end)
    starts = [np.clip(start, 0, max(end, 0)) for start, end in zip(starts, ends, strict=True)]
    ones = (1,) * len(window)
    where = [start.reshape((*batch, *ones)) for start in starts]
    for i, axis in enumerate(window):
        line = np.arange(sizes[axis]).reshape((*ones[:i], -1, *ones[i + 1 :]))
        where[axis] = where[axis] + line
    if mode != _Mode.FILL_OR_DROP:
        inside[...] = True
    return tuple(where), inside.reshape((*batch, *ones))
