"""The extension of compiled kernels: loading it, its table of cells, and why it cannot run."""

import ctypes
import functools
import importlib.util
import os
import sys
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax

_MODULE = "rnnjax.methods._kernels"
_VERSION = 3  # rnnjax_version() of kernels/ffi.cc
_INSTRUCTION_SETS = ("avx512", "avx2", "portable")  # of ffi.cc, the best first
_TARGETS = (
    "rnnjax_forward",
    "rnnjax_backward",
    "rnnjax_weight_gradients",
    "rnnjax_input_gradients",
    "rnnjax_linear_forward",
    "rnnjax_linear_backward",
)


class CompiledCell(NamedTuple):
    """One line of the library's table of cells (kernels/cells.def); see kernels/cells.h."""

    name: str
    position: int  # its index in the table
    gates: int  # G, the blocks of H columns in w_x and w_h
    tape: int  # blocks of H numbers saved at every step, besides h_{t-1} and c_{t-1}
    recurrent_offset: int  # the first block of δ that is an error at h_{t-1} W_h
    extra: int  # E, the vectors of H weights that act on one hidden unit each
    has_c: bool  # the carry has a cell state c


class _CellTraits(ctypes.Structure):
    """`CellTraits` of kernels/kernels.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("gates", ctypes.c_int64),
        ("tape", ctypes.c_int64),
        ("recurrent_offset", ctypes.c_int64),
        ("extra", ctypes.c_int64),
        ("has_c", ctypes.c_bool),
    )


class _Library(NamedTuple):
    """The loaded extension, or why it could not be loaded."""

    missing: str | None = None
    instruction_set: str | None = None
    cells: Mapping[str, CompiledCell] = MappingProxyType({})


@functools.cache
def _load() -> _Library:
    """Load the extension, register its kernels with XLA and read its table of cells.

    Cached, so that a setting that is none is warned of once a process.
    """
    if os.environ.get("RNNJAX_NATIVE") == "0":
        return _Library(
            "the environment variable RNNJAX_NATIVE=0 switches the compiled kernels off"
        )
    wrong = _wrong_setting()
    if wrong is not None:
        warnings.warn(f"{wrong}. This process runs without the compiled kernels", stacklevel=3)
        return _Library(wrong)
    try:
        library = _open()
        if library.rnnjax_version() != _VERSION:
            return _Library("the compiled kernels are of another version. Install rnnjax again")
        for name in _TARGETS:
            capsule = jax.ffi.pycapsule(getattr(library, name))
            jax.ffi.register_ffi_target(name, capsule, platform="cpu")
        instruction_set = library.rnnjax_instruction_set().decode()
        return _Library(None, instruction_set, _read_cells(library))
    except FileNotFoundError:
        return _Library(
            "the compiled kernels are not installed: they need a C++17 compiler (g++ or clang++) "
            "when rnnjax is installed. Install it again with `pip install -v` to see what the "
            "compiler says"
        )
    except (OSError, AttributeError, RuntimeError) as error:
        return _Library(f"the compiled kernels could not be loaded: {error}. Reinstall rnnjax")


def _wrong_setting() -> str | None:
    """What is wrong with the environment variables of the kernels; None if nothing is."""
    switch = os.environ.get("RNNJAX_NATIVE", "")
    if switch not in ("", "0", "1"):
        return (
            f"the environment variable RNNJAX_NATIVE={switch} is neither 0 nor 1: set it to 0 to "
            "switch the compiled kernels off, or unset it to use them"
        )
    wanted = os.environ.get("RNNJAX_NATIVE_ISA", "")
    if wanted not in ("", *_INSTRUCTION_SETS):
        return (
            f"the environment variable RNNJAX_NATIVE_ISA={wanted} names no instruction set: set it "
            f"to one of {', '.join(_INSTRUCTION_SETS)}, or unset it for the best of this CPU"
        )
    return None


def _open() -> ctypes.CDLL:
    spec = importlib.util.find_spec(_MODULE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(_MODULE)
    library = ctypes.CDLL(spec.origin)
    library.rnnjax_version.restype = ctypes.c_int64
    library.rnnjax_instruction_set.restype = ctypes.c_char_p
    library.rnnjax_cell.argtypes = [ctypes.c_int64]
    library.rnnjax_cell.restype = ctypes.POINTER(_CellTraits)
    return library


def _read_cells(library: ctypes.CDLL) -> Mapping[str, CompiledCell]:
    cells: dict[str, CompiledCell] = {}
    while line := library.rnnjax_cell(len(cells)):
        traits = line.contents
        name = traits.name.decode()
        sizes = (traits.gates, traits.tape, traits.recurrent_offset, traits.extra)
        cells[name] = CompiledCell(name, len(cells), *sizes, traits.has_c)
    return MappingProxyType(cells)


def compiled_cells() -> Mapping[str, CompiledCell]:
    """The library's table of compiled cells, by name; empty if it cannot be loaded."""
    return _load().cells


def instruction_set() -> str | None:
    """The instruction set of the kernels that run here: "avx512", "avx2" or "portable".

    None where `native()` is unavailable. It is the best that the CPU supports, or the lesser one
    that the environment variable RNNJAX_NATIVE_ISA names.
    """
    return None if why_not() is not None else _load().instruction_set


def why_not() -> str | None:
    """The reason why the kernels cannot run on this machine; None if they can."""
    if sys.byteorder != "little":
        return "the kernels are for little-endian machines"
    if jax.default_backend() != "cpu":
        return f"the kernels are for CPUs and JAX's default device is a {jax.default_backend()}"
    return _load().missing
