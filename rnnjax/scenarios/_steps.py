"""Which steps of a batch of sequences are read: within the lengths, and not skipped by a mask."""

from rnnjax._checks import check_array, check_lengths, check_mask
from rnnjax._types import Array
from rnnjax.running import within


def lengths_of(xs: Array, lengths: Array, of: str = "xs") -> Array:
    """`lengths [...]` as int32, if they are one for each sequence of xs `[T, ..., *features]`.

    `of` is what an error calls xs.
    """
    lengths = check_array("lengths", lengths, "[...] of integers, one length for each sequence")
    return check_lengths(lengths, xs.shape[0], xs.shape[1 : 1 + lengths.ndim], of)


def steps_read(
    xs: Array, lengths: Array | None, mask: Array | None, of: str = "xs"
) -> Array | None:
    """`[T, ...]`, True at the steps of xs `[T, ..., *features]` that are read; None: all are."""
    valid = None
    if lengths is not None:
        valid = within(lengths_of(xs, lengths, of), xs.shape[0])
    if mask is None:
        return valid
    mask = check_array("mask", mask, "[T, ...] of booleans, false at the steps to skip")
    mask = check_mask(mask, xs.shape[0], xs.shape[1 : mask.ndim if valid is None else valid.ndim])
    return mask if valid is None else mask & valid
