"""Precomputed image features: an npz file with one array per picture."""

import zipfile
from pathlib import Path

import numpy as np

from rnnjax._arguments import nearest


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
        if not zipfile.is_zipfile(self.path):
            raise ValueError(
                f"{path}: expected an .npz file of arrays; this is something else, or truncated"
            )
        self._file = np.load(self.path, allow_pickle=False)
        if not self._file.files:
            raise ValueError(f"{path}: expected an .npz file with one array per picture")
        self._names = set(self._file.files)
        self.form = self._read(self._file.files[0]).shape

    def path_of(self, name: str) -> Path:
        """The file that holds the features of a picture."""
        del name
        return self.path

    def __str__(self) -> str:
        return str(self.path)

    def __contains__(self, name: str) -> bool:
        return self._key(name) in self._names

    def __getitem__(self, name: str, /) -> np.ndarray:
        key = self._key(name)
        if key not in self._names:
            raise ValueError(f"{self.path} has no array {name!r}{nearest(name, self._names)}")
        array = self._read(key)
        if array.shape != self.form:
            raise ValueError(
                f"{self.path}: {key!r} has shape {array.shape} and the first one "
                f"{self.form}: expected arrays of the same shape"
            )
        return array

    def _key(self, name: str) -> str:
        """The key of a picture: its name as it is, without folders, or without its extension."""
        for key in (name, Path(name).name, Path(name).stem):
            if key in self._names:
                return key
        return name

    def _read(self, key: str) -> np.ndarray:
        try:
            array = self._file[key]
        except (ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{self.path}: {key!r} cannot be read: {error}") from None
        if not 1 <= array.ndim <= 3 or not np.issubdtype(array.dtype, np.number):
            raise ValueError(
                f"{self.path}: {key!r} is {array.dtype} of shape {array.shape}: expected numbers "
                "[F], [positions, F] or [height, width, F]"
            )
        return array.astype(np.float32)
