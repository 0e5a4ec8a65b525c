"""Cells and their params in files: `save` and `load`."""

from rnnjax.saving._save import load, save

__all__ = ["load", "save"]
