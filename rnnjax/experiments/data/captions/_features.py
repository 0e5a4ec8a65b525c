"""Precomputed image features: an npz file with one array per picture."""

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from rnnjax._arguments import nearest
from rnnjax.experiments._memory import check_fits, check_growth

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# What zipfile raises on damaged, encrypted and unusual files.
_DAMAGES = (ValueError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OverflowError)


class _Header(NamedTuple):
    shape: tuple[int, ...]
    column_order: bool
    dtype: np.dtype

    @property
    def size(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


class Features:
    """Arrays of an npz file by picture name; `features[name]` reads one from disk."""

    def __init__(self, path: str | Path) -> None:
        """Open a file written by `numpy.savez(path, **{"name.jpg": array, …})`.

        Arrays are `[F]`, `[P, F]` with P positions, or `[h, w, F]`, all of the same shape.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: not an npz file, or an empty one.
        """
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"there is no file of features {path}")
        try:
            self._file = zipfile.ZipFile(self.path)
        except _DAMAGES:
            raise ValueError(
                f"{path}: expected an .npz file of arrays; this is something else, or truncated"
            ) from None
        arrays = [entry for entry in self._file.infolist() if entry.filename.endswith(".npy")]
        self._entries = {entry.filename.removesuffix(".npy"): entry for entry in arrays}
        if not self._entries:
            raise ValueError(f"{path}: expected an .npz file with one array per picture")
        self.form = self._read(next(iter(self._entries)), None).shape

    def path_of(self, name: str) -> Path:
        """The file that holds the features of a picture."""
        del name
        return self.path

    def __str__(self) -> str:
        return str(self.path)

    def __contains__(self, name: str) -> bool:
        return self._key(name) in self._entries

    def __getitem__(self, name: str, /) -> np.ndarray:
        key = self._key(name)
        if key not in self._entries:
            raise ValueError(f"{self.path} has no array {name!r}{nearest(name, self._entries)}")
        return self._read(key, self.form)

    def check(self, name: str) -> None:
        """Raise ValueError unless the header of an array is as expected."""
        key = self._key(name)
        with self._open(key, self.form):
            pass

    def _key(self, name: str) -> str:
        """The key of a picture: its name as it is, without folders, or without its extension."""
        for key in (name, Path(name).name, Path(name).stem):
            if key in self._entries:
                return key
        return name

    @contextmanager
    def _open(self, key: str, form: tuple[int, ...] | None) -> Iterator[tuple[IO[bytes], _Header]]:
        """Open an array, of this shape if one is given; what is wrong is said of the key."""
        entry = self._entries[key]
        try:
            with self._file.open(entry) as file:
                header = _header(file)
                room = entry.file_size - file.tell()
                _check(header, form, room)
                check_growth("it", entry.compress_size, room)
                check_fits(f"its {header.shape} of {header.dtype}", header.size)
                yield file, header
        except (*_DAMAGES, OSError) as error:
            raise ValueError(f"{self.path}: {key!r} cannot be read: {error}") from None

    def _read(self, key: str, form: tuple[int, ...] | None) -> np.ndarray:
        with self._open(key, form) as (file, header):
            array = np.frombuffer(file.read(header.size + 1), header.dtype)
            array = array.reshape(header.shape, order="F" if header.column_order else "C")
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)
            if not np.isfinite(array).all():
                raise ValueError("it holds NaN, infinity or numbers beyond those of float32")
        return array


def _header(file: IO[bytes]) -> _Header:
    try:
        return _Header(*_HEADERS[npy.read_magic(file)](file))
    except Exception as error:  # those of Python's parser as well
        raise ValueError(f"not the header of an array of numbers: {error}") from None


def _check(header: _Header, form: tuple[int, ...] | None, room: int) -> None:
    """Raise ValueError unless a header is of numbers in `room` bytes, in the form if one is set."""
    shape, _, dtype = header
    if not 1 <= len(shape) <= 3 or min(shape) < 1 or dtype.kind not in "iuf":
        raise ValueError(
            f"it is {dtype} of shape {shape}: expected numbers [F], [positions, F] or "
            "[height, width, F]"
        )
    if header.size != room:
        raise ValueError(f"{room} bytes are no {shape} of {dtype}, which its header promises")
    if form is not None and shape != form:
        raise ValueError(
            f"it has shape {shape} and the first one {form}: expected arrays of the same shape"
        )
