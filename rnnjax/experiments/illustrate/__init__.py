"""The forward and the backward pass of a cell, illustrated: one self-contained HTML page."""

from rnnjax.experiments.illustrate._illustrate import ILLUSTRATIONS, illustrate

__all__ = ["ILLUSTRATIONS", "illustrate"]
