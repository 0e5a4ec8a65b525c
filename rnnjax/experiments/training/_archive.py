"""Trees of arrays in one .npz file: written atomically, with a checksum of each array.

`numpy.load` opens such a file: `numpy.load("120.npz")["params.cell.b"]`. Its member `about.json`
says what it is of.
"""

import json
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnnjax._files import plain, replace_file
from rnnjax._types import PyTree

_ABOUT, _DTYPES = "about.json", "dtypes"


class DamagedError(OSError):
    """A file that is no archive, or whose bytes are not those that were written."""


def write_archive(path: Path, trees: Mapping[str, PyTree], about: Mapping[str, Any]) -> None:
    """Write trees of NumPy arrays by name, and facts out of what JSON has.

    Raises:
      OSError: it cannot be written; what was at the path before is still there.
    """
    leaves = {name: leaf for key, tree in trees.items() for name, leaf in _named(key, tree).items()}
    dtypes = {name: str(leaf.dtype) for name, leaf in leaves.items()}

    def write(partial: Path) -> None:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_ABOUT, json.dumps(plain({**about, _DTYPES: dtypes})))
            for name, leaf in leaves.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, _standard(leaf), (1, 0), allow_pickle=False)

    replace_file(path, write)


def read_about(path: Path) -> dict[str, Any]:
    """The facts that were written into an archive.

    Raises:
      DamagedError: it is damaged.
      FileNotFoundError, PermissionError: it is not there, or may not be read.
    """
    return _read(path, lambda archive: json.loads(archive.read(_ABOUT)))


def read_archive(path: Path, keys: tuple[str, ...]) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of the trees with these keys, by dotted path; empty for a key that is not there.

    Raises:
      DamagedError, FileNotFoundError, PermissionError: as `read_about`.
    """

    def read(archive: zipfile.ZipFile) -> dict[str, dict[str, np.ndarray]]:
        dtypes = json.loads(archive.read(_ABOUT))[_DTYPES]
        found: dict[str, dict[str, np.ndarray]] = {key: {} for key in keys}
        for name, dtype in dtypes.items():
            key, _, path = name.partition(".")
            if key in found:
                found[key][path] = _array(archive.read(f"{name}.npy"), np.dtype(dtype))
        return found

    return _read(path, read)


def leaf_paths(tree: PyTree) -> list[str]:
    """The dotted path of each leaf, in order."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    found = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]
    if len(set(found)) == len(found):
        return found
    return [f"{path}~{k}" for k, path in enumerate(found)]


def _named(key: str, tree: PyTree) -> dict[str, np.ndarray]:
    leaves = map(np.asarray, jax.tree.leaves(tree))
    return {f"{key}.{path}": leaf for path, leaf in zip(leaf_paths(tree), leaves, strict=True)}


def _read(path: Path, read: Any) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            return read(archive)
    except (FileNotFoundError, PermissionError):
        raise
    # Whatever zipfile, json and NumPy raise on bytes that they were not made for.
    except Exception as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DamagedError(f"{path} is damaged ({why})") from None


def _standard(leaf: np.ndarray) -> np.ndarray:
    """The array in a dtype of NumPy's own: bfloat16 as the integers of its bits."""
    leaf = np.asarray(leaf, order="C")
    return leaf if leaf.dtype.isbuiltin == 1 else leaf.view(f"u{leaf.dtype.itemsize}")


def _array(data: bytes, dtype: np.dtype) -> np.ndarray:
    """The array of an .npy file, whose header may claim any size without being believed."""
    stream = BytesIO(data)
    np.lib.format.read_magic(stream)
    shape, _, _ = np.lib.format.read_array_header_1_0(stream)
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape)
