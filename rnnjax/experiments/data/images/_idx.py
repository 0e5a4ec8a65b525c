"""The IDX file format, in which MNIST and similar data sets are distributed."""

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rnnjax._arguments import checked_arguments
from rnnjax.experiments._memory import check_fits, check_growth

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 8
_MOST_DEFLATED = 1032  # bytes that one byte of gzip stands for, at most
_BLOCK = 1 << 20  # bytes decompressed at once


@checked_arguments
def read_idx(path: Path) -> np.ndarray:
    """Read an array from an IDX file, memory-mapped if it is not compressed.

    The format: two zero bytes, a byte for the dtype, a byte for the number of dimensions, each
    dimension as a big-endian 32-bit integer, then the values, big-endian, the last index fastest.

    Args:
      path: the file; gzipped if its name ends in `.gz`.

    Returns:
      A read-only array. The values of an uncompressed file are read on demand.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file that is not IDX, whose size contradicts its header, or, if compressed,
        whose values do not fit into memory.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "three.idx"
      >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
      >>> read_idx(path).tolist()
      [7, 8, 9]

    References:
      LeCun, Cortes & Burges (1998), The MNIST database of handwritten digits.
    """
    path = Path(path)
    if path.suffix == ".gz":
        return _read_compressed(path)
    with path.open("rb") as file:
        dtype, shape, offset = _header(file, path)
    expected, found = offset + dtype.itemsize * math.prod(shape), path.stat().st_size
    _check_size(path, shape, dtype, expected, found)
    if math.prod(shape) == 0:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape)


def _read_compressed(path: Path) -> np.ndarray:
    try:
        with gzip.open(path, "rb") as file:
            dtype, shape, offset = _header(file, path)
            size = dtype.itemsize * math.prod(shape)
            _check_growth(path, shape, dtype, size)
            content = _read(file, size + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file ({error}): download it again") from None
    if len(content) > size:
        raise ValueError(
            f"{path} is longer than its header says: expected {offset + size} bytes for {shape} of "
            f"{dtype.name}"
        )
    _check_size(path, shape, dtype, offset + size, offset + len(content))
    array = np.frombuffer(content, dtype).reshape(shape)
    array.flags.writeable = False
    return array


def _check_growth(path: Path, shape: tuple[int, ...], dtype: np.dtype, size: int) -> None:
    """Raise ValueError, before anything is decompressed, if it cannot or should not be."""
    there = path.stat().st_size
    if size > _MOST_DEFLATED * there:
        raise ValueError(
            f"{path} is truncated: {there} compressed bytes cannot hold {shape} of {dtype.name}"
        )
    check_growth(f"{path} (decompress it with gunzip if it is right)", there, size)
    what = f"{path}, decompressed to {shape} of {dtype.name} (after gunzip it is read on demand),"
    check_fits(what, size)


def _read(file: BinaryIO | gzip.GzipFile, size: int) -> bytearray:
    """At most `size` bytes, in memory that grows with what there is."""
    content = bytearray()
    while len(content) < size and (block := file.read(min(_BLOCK, size - len(content)))):
        content += block
    return content


def _header(file: BinaryIO | gzip.GzipFile, path: Path) -> tuple[np.dtype, tuple[int, ...], int]:
    """The dtype, the shape, and the offset of the values."""
    magic = file.read(4)
    known = len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in _DTYPES
    if not known or not 1 <= magic[3] <= _MAX_DIMENSIONS:
        hint = "; it looks compressed: let its name end in .gz" if magic[:2] == b"\x1f\x8b" else ""
        raise ValueError(
            f"{path} is not an IDX file: it begins with {magic.hex(' ') or 'nothing'}, expected "
            f"00 00, a dtype (08 for bytes) and the number of dimensions{hint}"
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise ValueError(f"{path} ends within its header, which says {magic[3]} dimensions")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    if math.prod(max(size, 1) for size in shape) >= 1 << 60:
        raise ValueError(f"{path} is damaged: its header says {shape}")
    return np.dtype(_DTYPES[magic[2]]), shape, 4 + len(sizes)


def _check_size(
    path: Path, shape: tuple[int, ...], dtype: np.dtype, expected: int, found: int
) -> None:
    if found != expected:
        kind = "truncated" if found < expected else "longer than its header says"
        raise ValueError(
            f"{path} is {kind}: {found} bytes, expected {expected} for {shape} of {dtype.name}"
        )
