"""Cells whose state has the axes of a picture."""
