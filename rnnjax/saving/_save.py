"""`save` and `load`: a cell and its params in one file, without pickle."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnnjax._checks import check_cell, checked_arguments, described
from rnnjax._types import Cell, Params, known
from rnnjax._version import __version__
from rnnjax.saving._rebuilding import rebuilt
from rnnjax.saving._safetensors import File, raw, read, write
from rnnjax.saving._trees import put_together, taken_apart
from rnnjax.unrolling import Layer, check_model_params

_FORMAT = 1  # raised by a change that older versions could not read


@checked_arguments
def save(path: Path | str, cell: Cell | Layer, params: Params) -> None:
    """Write a cell and its params to a safetensors file, from which `load` makes both again.

    The file holds the arrays, named by their place (`0.w_x` in a stack), and as metadata the call
    that makes the cell, such as `stack(lstm(128, forget_bias=5.0), gru(64))`. Other programs can
    read it with any safetensors reader. It is written beside `path` and then put in its place, so
    a file that was there stays whole if anything goes wrong.

    A cell of your own that was made by a function under `@rnnjax.cells.factory` is written the same
    way; of any other, and of one with a function among its arguments, only the params are, and
    `load` has to be given the cell.

    Args:
      path: of the file; `.safetensors` is the usual ending. Missing folders are made.
      cell: any `Cell`, or a `Layer` made by `recurrent`, `bidirectional` or `serial`.
      params: its weights, of any real or complex dtype; complex ones are written as pairs of real
        numbers.

    Raises:
      TypeError: `cell` is neither, or params hold something that is no array.
      ValueError: params of another cell.
      OSError: the file cannot be written.

    Example:
      >>> import jax, pathlib, rnnjax, tempfile
      >>> cell = rnnjax.stack(rnnjax.lstm(8, forget_bias=5.0), rnnjax.gru(4))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "model.safetensors"
      ...     rnnjax.save(path, cell, params)
      ...     same, loaded = rnnjax.load(path)
      >>> same
      stack(lstm(8, forget_bias=5.0), gru(4))
      >>> bool(jax.numpy.array_equal(loaded[0].w_x, params[0].w_x))
      True
    """
    description, arrays = taken_apart(check_model_params(cell, params))
    key = "rnnjax.cell" if _comes_back(cell) else "rnnjax.own_cell"
    metadata = {
        "rnnjax.format": str(_FORMAT),
        "rnnjax.version": __version__,
        key: str(cell),
        "rnnjax.params": json.dumps(description),
    }
    metadata["rnnjax.crc32"] = _checksum(arrays, metadata)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write(Path(path), File(arrays, metadata))


@checked_arguments
def load(
    path: Path | str, *, cell: Cell | Layer | None = None, like: Params | None = None
) -> tuple[Any, Params]:
    """Read what `save` wrote: a cell and its params, or an error, and never a part of them.

    Nothing in the file is executed: the cell is made by calling the factories that its description
    names, if rnnjax or you have registered such, with the numbers and words that stand there.

    Args:
      path: of the file.
      cell: the cell or layer, where the file cannot say what it is: one of your own, or one with a
        function among its arguments, as those of `wrap`. For others it must be the one in the file.
      like: params, or their shapes, of the same form: needed where they are in a class of your own
        that `Structure.params` of the cell does not show.

    Returns:
      `(cell, params)`, the arrays in the dtypes that they were saved in.

    Raises:
      FileNotFoundError: no such file.
      TypeError: `cell` is neither a cell nor a layer.
      ValueError: a file that is damaged, was changed, holds no rnnjax cell or was written by a
        newer version; a cell that has to be given, or another than the file's; params unlike
        `like`; float64 params while JAX's float64 is off.

    Example:
      See `rnnjax.save`.
    """
    if cell is not None and not isinstance(cell, Layer):
        check_cell(cell)
    path, (arrays, metadata) = Path(path), read(Path(path))
    _check_format(path, metadata)
    if metadata.get("rnnjax.crc32") != _checksum(arrays, metadata):
        raise ValueError(
            f"{path} is damaged, or was changed by another program: its checksum differs from "
            "that of its content"
        )
    try:
        model = _model(metadata, cell)
        params = put_together(json.loads(metadata["rnnjax.params"]), arrays, (_shapes(model), like))
        return model, _like(check_model_params(model, params), like)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path} cannot be loaded: {error}") from error


def _checksum(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """Of all that is in a file but the checksum itself."""
    said = sorted((key, text) for key, text in metadata.items() if key != "rnnjax.crc32")
    shapes = sorted((name, str(array.dtype), array.shape) for name, array in arrays.items())
    value = zlib.crc32(repr((said, shapes)).encode())
    for name in sorted(arrays):
        value = zlib.crc32(raw(arrays[name]), value)
    return f"{value:08x}"


def _check_format(path: Path, metadata: Mapping[str, str]) -> None:
    text = metadata.get("rnnjax.format", "")
    if not text.isdigit():
        raise ValueError(
            f"{path} holds no cell that rnnjax.save wrote: its metadata does not say of which "
            "format it is. Weights of other libraries come in by rnnjax.interop"
        )
    if int(text) > _FORMAT:
        raise ValueError(
            f"{path} was written by rnnjax {metadata.get('rnnjax.version')} in format {text}, and "
            f"rnnjax {__version__} reads formats up to {_FORMAT}: upgrade rnnjax"
        )


def _comes_back(cell: Cell | Layer) -> bool:
    """Whether what it prints as makes the same cell again."""
    try:
        return rebuilt(str(cell)) is cell
    except ValueError:
        return False


def _model(metadata: Mapping[str, str], given: Cell | Layer | None) -> Cell | Layer:
    """The cell or layer of the file."""
    text = metadata.get("rnnjax.cell")
    if text is None:
        if given is None:
            raise ValueError(
                f"its cell, {metadata.get('rnnjax.own_cell')}, is your own or is made with a "
                "function of yours, which no file holds: pass it as load(path, cell=...)"
            )
        return given
    if given is None:
        return rebuilt(text)
    if text != str(given):
        raise ValueError(f"it holds params of {text}, and cell= is {given}")
    return given


def _shapes(model: Cell | Layer) -> Any:
    """What is known of the params: `Structure.params`, one a part of a layer."""
    if isinstance(model, Cell):
        return known(model).params
    if model.call is None:
        return None
    return tuple(_shapes(part) for part in model.call.positional)


def _like(params: Params, like: Params | None) -> Params:
    """`params`, if they have the structure, shapes and dtypes of `like`."""
    if like is None:
        return params
    got, want = (jax.tree_util.tree_flatten_with_path(tree) for tree in (params, like))
    if got[1] != want[1]:
        raise ValueError(f"its params are {described(params)}, and like= is {described(like)}")
    for (path, a), (_, b) in zip(got[0], want[0], strict=True):
        if (a.shape, a.dtype) != (getattr(b, "shape", None), getattr(b, "dtype", None)):
            raise ValueError(
                f"its params{jax.tree_util.keystr(path)} is {described(a)}, and like= has "
                f"{described(b)}"
            )
    return params
