"""What the C library does with memory that is freed."""

import ctypes
import os

_OPTIONS = {  # of mallopt, in glibc's malloc.h
    "M_ARENA_MAX": (-8, 1),  # one heap for all threads: those of XLA share what is free
    "M_MMAP_MAX": (-4, 0),  # arrays come from the heap, however large, and go back into it
    "M_TRIM_THRESHOLD": (-1, 1 << 30),  # bytes that are free at its end and stay with the process
}


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for the arrays to come; before any thread is started.

    XLA asks for the memory of a step anew at each step, and BPTT for that of all times. By default
    glibc maps large arrays and unmaps them again, and the system clears every page of each at its
    first use. Nothing happens elsewhere than on glibc, or where a variable MALLOC_… of the
    environment says how it should allocate.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # another C library or system
        return
    for option, value in _OPTIONS.values():
        mallopt(option, value)
