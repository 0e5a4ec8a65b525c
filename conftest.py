"""Which modules have no doctests here: those of libraries that are not installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("equinox") else ["rnnjax/interop/equinox.py"]
