"""The safetensors format: named arrays and a few strings, in a file that holds no code.

    8 bytes: N, little-endian | N bytes: a JSON object | the arrays, one after the other

The object has for every array its dtype, its shape and where its bytes begin and end, and the
strings under `__metadata__`. See https://github.com/huggingface/safetensors.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rnnjax._files import replace_file

_MAX_HEADER = 100_000_000  # bytes, as in the reference implementation
_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "BF16": "bfloat16",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class File(NamedTuple):
    """What a file holds."""

    arrays: Mapping[str, np.ndarray]
    metadata: Mapping[str, str]


def can_hold(dtype: Any) -> bool:
    """Whether the format has this dtype: all real ones that weights come in."""
    return str(dtype) in _NAMES


def write(path: Path, file: File) -> None:
    """Write a file, or leave the one that is there."""
    # Wide dtypes first, so that every array begins at a multiple of its item's size.
    names = sorted(file.arrays, key=lambda name: (-file.arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(file.metadata)}
    end = 0
    for name in names:
        array = file.arrays[name]
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": _NAMES[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)

    def fill(partial: Path) -> None:
        with partial.open("wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                out.write(raw(file.arrays[name]))

    replace_file(path, fill)


def raw(array: np.ndarray) -> memoryview:
    """The bytes of an array, row by row, without a copy where they lie so."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def read(path: Path) -> File:
    """Read a file whole.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is damaged, or of another format.
    """
    content = path.read_bytes()
    try:
        return _parsed(content)
    except _DamagedError as damage:
        raise ValueError(f"{path} cannot be read as a safetensors file: {damage}") from None


class _DamagedError(Exception):
    pass


def _parsed(content: bytes) -> File:
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(_MAX_HEADER, len(content) - 8):
        raise _DamagedError(f"its {len(content)} bytes end before its header, or it has none")
    try:
        header = json.loads(content[8 : 8 + size].decode(), object_pairs_hook=_without_repeats)
        metadata = header.pop("__metadata__", {})
        entries = {name: _entry(name, entry) for name, entry in header.items()}
        strings = all(isinstance(value, str) for value in metadata.values())
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _DamagedError(f"its header is not what the format asks for ({error})") from None
    if not strings:
        raise _DamagedError("its __metadata__ holds more than strings")
    return File(_arrays(entries, memoryview(content)[8 + size :]), metadata)


class _Entry(NamedTuple):
    dtype: Any
    shape: tuple[int, ...]
    begin: int
    end: int


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _entry(name: str, entry: Any) -> _Entry:
    """What the header says of one array."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name} has not a dtype, a shape and data_offsets")
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"{name} has the dtype {entry['dtype']!r}")
    sizes = (entry["shape"], entry["data_offsets"])
    if (
        not all(
            isinstance(part, list) and all(type(size) is int and size >= 0 for size in part)
            for part in sizes
        )
        or len(entry["data_offsets"]) != 2
    ):
        raise ValueError(f"{name} has the shape {sizes[0]!r} and data_offsets {sizes[1]!r}")
    dtype = np.dtype(jnp.dtype(_DTYPES[entry["dtype"]]))
    return _Entry(dtype, tuple(entry["shape"]), *entry["data_offsets"])


def _arrays(entries: Mapping[str, _Entry], data: memoryview) -> Mapping[str, np.ndarray]:
    """The arrays, which fill the bytes that there are without a gap."""
    arrays, at = {}, 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1][2:]):
        size = math.prod(entry.shape) * entry.dtype.itemsize
        if entry.begin != at or entry.end - entry.begin != size:
            raise _DamagedError(
                f"{name} should be {size} bytes from byte {at} on, and its header says "
                f"{entry.begin} to {entry.end}"
            )
        at = entry.end
        if at <= len(data):
            part = np.frombuffer(data[entry.begin : at], entry.dtype)
            arrays[name] = part.reshape(entry.shape)
    if at != len(data):
        raise _DamagedError(f"its header announces {at} bytes of arrays, and there are {len(data)}")
    return arrays
