"""Measures are taken in float64, whatever the dtype of the params."""

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import is_array
from rnnjax._integers import of_own_width
from rnnjax._params import check_params
from rnnjax._traces import is_traced
from rnnjax._types import Cell
from rnnjax.flow._cell import in_dtype

P = ParamSpec("P")
T = TypeVar("T")

_NOTE = (
    "rnnjax.flow measures in float64, and casts what it is given: let cell, cost and clip make "
    "their arrays in the dtype of params or carry, such as jnp.zeros(shape, params.w.dtype), and "
    "integers in one that is named, such as jnp.int32; or measure inside jax.jit, where dtypes stay"
)

_KINDS = {"bf": "bfloat", "f": "float", "c": "complex", "i": "int", "u": "uint"}  # in JAX's types
_DTYPE = re.compile(r"\b(bfloat|float|complex|int|uint|bf|f|c|i|u)(8|16|32|64|128)\b")


@contextmanager
def explained(dtype: str = "float64", note: str = _NOTE) -> Iterator[None]:
    """Add `note` to an error about arrays that are not in the dtype in which a measure is taken.

    Such an error names this dtype and another of its kind, as those of JAX about types do.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        if _names_another(str(error), dtype):
            error.add_note(note)
        raise


def _names_another(message: str, dtype: str) -> bool:
    """Whether it names dtypes of a measure taken in `dtype`, and others of the same kind."""
    named = {f"{_KINDS.get(kind, kind)}{bits}" for kind, bits in _DTYPE.findall(message)}
    wide = dtype == "float64"
    for kinds, own in (
        (("float", "bfloat", "complex"), {dtype, "complex128" if wide else "complex64"}),
        (("int", "uint"), {"int64", "uint64"} if wide else set()),
    ):
        of_kind = {name for name in named if name.rstrip("0123456789") in kinds}
        if of_kind & own and of_kind - own:
            return True
    return False


def in_float64(measure: Callable[P, T]) -> Callable[P, T]:
    """Decorator: cast arrays to float64, and measure as `keeping_float64`.

    Not inside a transformation or a program of the caller's: there dtypes stay.
    """
    names, keeping = [*inspect.signature(measure).parameters], keeping_float64(measure)

    @functools.wraps(measure)
    def measured(*args: P.args, **kwargs: P.kwargs) -> T:
        if is_traced():
            return measure(*args, **kwargs)
        given: dict[str, Any] = dict(zip(names, args, strict=False)) | kwargs
        wide = jax.config.read("jax_enable_x64")
        with jax.enable_x64(True):
            if _is_cell(given.get("cell")) and "params" in given:  # afterwards all have one dtype
                given["params"] = check_params(given["cell"], given["params"])
                given["cell"] = of_own_width(given["cell"], given["params"], wide)
            placed: Any = [given[n] for n in names[: len(args)]], {n: given[n] for n in kwargs}
            args, kwargs = jax.tree.map(_wide, placed, is_leaf=_is_cell)
        with explained():
            return keeping(*args, **kwargs)

    return measured


def keeping_float64(measure: Callable[P, T]) -> Callable[P, T]:
    """Decorator: do not round float64 to float32, though `jax_enable_x64` be off.

    Then results are NumPy arrays, since JAX would round them in the next operation.
    """

    @functools.wraps(measure)
    def measured(*args: P.args, **kwargs: P.kwargs) -> T:
        if jax.config.read("jax_enable_x64") or is_traced():
            return measure(*args, **kwargs)
        with jax.enable_x64(True):
            return jax.tree.map(_numpy, measure(*args, **kwargs))

    return measured


def _is_cell(x: Any) -> bool:
    return isinstance(x, Cell)


def _wide(x: Any) -> Any:
    """An array in float64 if it may be differentiated; a NumPy scalar is an option, and stays."""
    is_plain = isinstance(x, jax.Array | np.ndarray) and is_array(x)
    return in_dtype(x, jnp.float64) if is_plain else x


def _numpy(x: Any) -> Any:
    return np.array(x) if isinstance(x, jax.Array) else x
