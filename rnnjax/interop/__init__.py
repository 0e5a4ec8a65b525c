"""Conversion of weights and models from and to other libraries, and cells as their modules.

`nnx.Recurrent`, `linen.Recurrent` and `equinox.Recurrent` are reached as attributes, and import
their library when they are.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from rnnjax.interop._equinox import from_equinox, to_equinox
from rnnjax.interop._haiku import from_haiku, to_haiku
from rnnjax.interop._haste import from_haste, to_haste
from rnnjax.interop._keras import from_keras, to_keras
from rnnjax.interop._linen import from_linen, to_linen
from rnnjax.interop._nnx import from_nnx, to_nnx
from rnnjax.interop._onnx import from_onnx, to_onnx
from rnnjax.interop._packed import (
    Packed,
    from_cu_seqlens,
    from_packed,
    to_cu_seqlens,
    to_packed,
)
from rnnjax.interop._torch import from_torch, to_torch

if TYPE_CHECKING:
    from rnnjax.interop import equinox as equinox, linen as linen, nnx as nnx

_LAZY = ("equinox", "linen", "nnx")

__all__ = [
    "Packed",
    "from_cu_seqlens",
    "from_equinox",
    "from_haiku",
    "from_haste",
    "from_keras",
    "from_linen",
    "from_nnx",
    "from_onnx",
    "from_packed",
    "from_torch",
    "to_cu_seqlens",
    "to_equinox",
    "to_haiku",
    "to_haste",
    "to_keras",
    "to_linen",
    "to_nnx",
    "to_onnx",
    "to_packed",
    "to_torch",
]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return import_module(f"rnnjax.interop.{name}")
    raise AttributeError(f"module 'rnnjax.interop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
