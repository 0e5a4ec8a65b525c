"""Data for recurrent nets."""

from rnnjax.tasks._digits import Digits, digits

__all__ = ["Digits", "digits"]
