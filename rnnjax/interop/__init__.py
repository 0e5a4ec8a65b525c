"""Conversion of weights and models from and to other libraries."""

from rnnjax.interop._torch import from_torch, to_torch

__all__ = ["from_torch", "to_torch"]
