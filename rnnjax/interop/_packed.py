"""Sequences of different lengths without padding, as PyTorch and attention kernels hold them."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._checks import check_array, check_lengths, check_positive_int, described
from rnnjax._types import Array
from rnnjax.interop._arrays import from_tensor


class Packed(NamedTuple):
    """The fields of `torch.nn.utils.rnn.PackedSequence`: step by step, the longest sequence first.

    `data` has the inputs of every sequence at t = 0, then of those that have a t = 1, and so on;
    `batch_sizes` says how many these are.
    """

    data: Array  # [N, ...], N the number of steps of all sequences
    batch_sizes: Any  # [T] int64
    sorted_indices: Any = None  # [B] int64: which sequence each one is; None: in this order
    unsorted_indices: Any = None  # [B] int64: where each sequence is


def from_packed(packed: Any) -> tuple[Array, Array]:
    """Unpack a `PackedSequence`: padded sequences and their lengths, as `unroll` takes them.

    Args:
      packed: `torch.nn.utils.rnn.PackedSequence`, or anything with its four fields, such as
        `Packed`. Its data may be traced, the rest has to be known.

    Returns:
      `(xs, lengths)`: `[T, B, ...]`, zero in the padding, and `[B]` int32.

    Raises:
      TypeError: it has no data and batch_sizes.
      ValueError: batch sizes that grow, or do not sum to the length of data.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> packed = rnnjax.interop.Packed(jnp.array([1.0, 4.0, 2.0, 5.0, 3.0]), [2, 2, 1])
      >>> xs, lengths = rnnjax.interop.from_packed(packed)
      >>> xs.T.tolist(), lengths.tolist()
      ([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]], [3, 2])
    """
    if not hasattr(packed, "data") or not hasattr(packed, "batch_sizes"):
        raise TypeError(
            "packed must be a torch.nn.utils.rnn.PackedSequence, or have its fields data, "
            f"batch_sizes, sorted_indices and unsorted_indices, got {described(packed)}"
        )
    data = check_array("packed.data", _plain(packed.data), "[N, ...]")
    sizes = _known("packed.batch_sizes", packed.batch_sizes)
    if np.any(sizes <= 0) or np.any(np.diff(sizes) > 0) or sizes.sum() != data.shape[0]:
        raise ValueError(
            "packed.batch_sizes must be positive, must not grow, and must sum to the "
            f"{data.shape[0]} steps of packed.data, got {sizes.tolist()}"
        )
    count = int(sizes[0]) if sizes.size else 0
    place = _places(getattr(packed, "unsorted_indices", None), count)
    valid = (place < sizes[:, None]) if count else np.zeros((0, 0), bool)
    source = np.where(valid, np.cumsum(sizes)[:, None] - sizes[:, None] + place, 0)
    return _padded(data, source, valid), jnp.asarray(valid.sum(0), jnp.int32)


def to_packed(xs: Array, lengths: Array) -> Packed:
    """Pack padded sequences as PyTorch's `pack_padded_sequence(..., enforce_sorted=False)` does.

    Args:
      xs: `[T, B, ...]`; may be traced.
      lengths: `[B]` integers in 1..T, which have to be known.

    Returns:
      A `Packed`; `torch.nn.utils.rnn.PackedSequence(*map(torch.as_tensor, packed))` is PyTorch's.

    Raises:
      TypeError: lengths that are traced, or no integers.
      ValueError: no batch axis, other shapes, or an empty sequence, which PyTorch does not have.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> packed = rnnjax.interop.to_packed(jnp.arange(6.0).reshape(3, 2), jnp.array([1, 3]))
      >>> packed.data.tolist(), packed.batch_sizes.tolist(), packed.sorted_indices.tolist()
      ([1.0, 0.0, 3.0, 5.0], [2, 1, 1], [1, 0])
    """
    xs, lengths = _sequences(xs, lengths)
    known: Any = _known("lengths", lengths)
    if np.any(known < 1):
        raise ValueError(f"lengths must be at least 1 in a packed sequence, got {known.tolist()}")
    order = np.argsort(-known, stable=True)
    running = np.arange(known.max(initial=0))[:, None] < known[order]
    t, rank = np.nonzero(running)
    inverse = np.argsort(order)
    return Packed(xs[t, order[rank]], running.sum(1), order, inverse)


def from_cu_seqlens(
    data: Array, cu_seqlens: Array, *, max_length: int | None = None
) -> tuple[Array, Array]:
    """Pad sequences that lie one after the other, with the places where they begin and end.

    Args:
      data: `[N, ...]`, all steps of the first sequence, then of the second, and so on.
      cu_seqlens: `[B + 1]` integers, 0 and the cumulative lengths, as attention kernels take them.
      max_length: T of the result; needed where cu_seqlens is traced, by default the longest.

    Returns:
      `(xs, lengths)`: `[T, B, ...]`, zero in the padding, and `[B]` int32, as `unroll` takes them.

    Raises:
      TypeError: cu_seqlens that are no integers, or traced without max_length.
      ValueError: cu_seqlens that do not go from 0 to N, or a sequence longer than max_length.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> data, ends = jnp.arange(1.0, 6.0), jnp.array([0, 3, 5])
      >>> xs, lengths = rnnjax.interop.from_cu_seqlens(data, ends)
      >>> xs.T.tolist(), lengths.tolist()
      ([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]], [3, 2])
    """
    data = check_array("data", data, "[N, ...]")
    ends = _integers("cu_seqlens", cu_seqlens)
    if ends.ndim != 1 or ends.size == 0 or data.ndim == 0:
        raise ValueError(
            f"cu_seqlens must be [B + 1] for data [N, ...], got {described(ends)} for "
            f"{described(data)}"
        )
    if max_length is not None:
        max_length = check_positive_int("max_length", max_length)
    if not isinstance(ends, Tracer):
        known = np.asarray(ends)
        longest = int(np.diff(known).max(initial=0))
        if known[0] != 0 or known[-1] != data.shape[0] or np.any(np.diff(known) < 0):
            raise ValueError(
                f"cu_seqlens must grow from 0 to {data.shape[0]}, the steps of data, got "
                f"{known.tolist()}"
            )
        if max_length is not None and longest > max_length:
            raise ValueError(f"max_length={max_length}, and cu_seqlens has one of {longest} steps")
        max_length = longest if max_length is None else max_length
    elif max_length is None:
        raise TypeError("cu_seqlens is traced, and max_length has to be given then: T of xs")
    begins, lengths = ends[:-1], ends[1:] - ends[:-1]
    t = np.arange(max_length, dtype=ends.dtype)[:, None]
    valid = t < lengths[None]
    source = jnp.where(valid, begins[None] + t, 0)
    return _padded(data, source, valid), jnp.asarray(lengths, jnp.int32)


def to_cu_seqlens(xs: Array, lengths: Array, *, total: int | None = None) -> tuple[Array, Array]:
    """Lay padded sequences one after the other, without their padding.

    Args:
      xs: `[T, B, ...]`.
      lengths: `[B]` integers in 0..T.
      total: their sum N, needed where lengths is traced, as under `jit`. One that is larger then
        leaves zeros at the end; a smaller one cuts the last steps off.

    Returns:
      `(data, cu_seqlens)`: `[N, ...]` and `[B + 1]` int32.

    Raises:
      TypeError: lengths that are no integers, or traced without total.
      ValueError: no batch axis, other shapes, or a total that is not the sum.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> xs = jnp.arange(6.0).reshape(3, 2)
      >>> data, ends = rnnjax.interop.to_cu_seqlens(xs, jnp.array([1, 3]))
      >>> data.tolist(), ends.tolist()
      ([0.0, 1.0, 3.0, 5.0], [0, 1, 4])
    """
    xs, lengths = _sequences(xs, lengths)
    if not isinstance(lengths, Tracer):
        known = int(lengths.sum())
        if total is not None and total != known:
            raise ValueError(f"total={total!r}, and lengths sum to {known}")
        total = known
    elif total is None:
        raise TypeError("lengths is traced, and total has to be given then: the sum of lengths")
    ends = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(lengths).astype(jnp.int32)])
    numbers = jnp.arange(xs.shape[1], dtype=jnp.int32)
    sequence = jnp.repeat(numbers, jnp.asarray(lengths), total_repeat_length=total)
    place = jnp.arange(total, dtype=jnp.int32)
    rows = xs[place - ends[sequence], sequence]
    valid = (place < ends[-1]).reshape(-1, *[1] * (rows.ndim - 1))
    return jnp.where(valid, rows, jnp.zeros((), rows.dtype)), ends


def _padded(data: Array, source: Any, valid: Any) -> Array:
    """`[T, B, ...]` of data's rows, zero where not valid."""
    if data.shape[0] == 0:
        return jnp.zeros((*valid.shape, *data.shape[1:]), data.dtype)
    rows = data[jnp.asarray(source)]
    flags = jnp.asarray(valid).reshape(*valid.shape, *[1] * (rows.ndim - 2))
    return jnp.where(flags, rows, jnp.zeros((), rows.dtype))


def _sequences(xs: Any, lengths: Any) -> tuple[Array, Any]:
    xs = check_array("xs", xs, "[T, B, ...]")
    if xs.ndim < 2:
        raise ValueError(f"xs must be [T, B, ...], time first, got {described(xs)}")
    lengths = _integers("lengths", lengths)
    check_lengths(lengths, xs.shape[0], xs.shape[1:2])
    return xs, lengths


def _places(indices: Any, count: int) -> np.ndarray:
    """Where each sequence is among the sorted ones."""
    if indices is None:
        return np.arange(count)
    places = _known("packed.unsorted_indices", indices)
    if sorted(places.tolist()) != list(range(count)):
        raise ValueError(
            f"packed.unsorted_indices must be the numbers 0..{count - 1}, one for each sequence, "
            f"got {places.tolist()}"
        )
    return places


def _known(name: str, value: Any) -> np.ndarray:
    """Integers [K] that have to be known outside of `jit`."""
    if isinstance(value, Tracer):
        raise TypeError(
            f"{name} is traced, and the shape of the result depends on it: compute it outside of "
            "jit, or use from_cu_seqlens and to_cu_seqlens, which take sizes for it"
        )
    array: Any = _integers(name, value)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one axis, got {described(array)}")
    return array


def _integers(name: str, value: Any) -> Any:
    """Integers as they are where they are traced, else as NumPy's, which stay known under `jit`."""
    array = value if isinstance(value, Tracer) else np.asarray(_plain(value))
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers, got {described(value)}")
    is_unsigned = not isinstance(array, Tracer) and array.dtype.kind == "u"
    return array.astype(np.int64) if is_unsigned else array  # differences may be negative


def _plain(value: Any) -> Any:
    """A tensor of PyTorch's as NumPy's; all else as it is."""
    return from_tensor(value) if hasattr(value, "detach") else value
