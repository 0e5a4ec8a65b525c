"""Conversion of weights and models from other libraries."""

from rnnjax.interop._torch import from_torch

__all__ = ["from_torch"]
