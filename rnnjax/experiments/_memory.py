"""Whether arrays fit into memory, asked before they are made."""

import os
from collections.abc import Iterator
from pathlib import Path

_SHARE = 0.5  # of the available memory, which one step of the work may take
_SMALL = 1 << 26  # bytes that are always there; asking takes a millisecond
_LARGE, _USUAL_GROWTH = 1 << 28, 100  # bytes, and times that compressed data may be larger
_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def check_fits(what: str, size: int) -> None:
    """Raise ValueError, before the work, if it would take over half of the available memory.

    Args:
      what: begins the message: what is made, and by which option or file, as in
        "side = 100000: a batch of pictures".
      size: bytes, of which a lower bound is enough.

    Example:
      >>> check_fits("side = 100000: a batch of pictures", 10**18)
      Traceback (most recent call last):
      ...
      ValueError: side = 100000: a batch of pictures would take 1000 PB ...
    """
    free = available_memory() if size > _SMALL else None
    if free is not None and size > _SHARE * free:
        raise ValueError(
            f"{what} would take {in_units(size)} of memory, more than {_SHARE:.0%} of the "
            f"{in_units(free)} available"
        )


def check_growth(what: str, compressed: int, size: int) -> None:
    """Raise ValueError if decompressed data would be large and out of proportion to the file.

    Args:
      what: begins the message: the file.
      compressed, size: bytes before and after.
    """
    if size > _LARGE and size > _USUAL_GROWTH * compressed:
        raise ValueError(
            f"{what} would grow from {in_units(compressed)} to {in_units(size)}, over "
            f"{_USUAL_GROWTH} times, as no real data do"
        )


def in_units(size: int) -> str:
    """A number of bytes with a unit: `in_units(1_500_000) == "1.5 MB"`."""
    unit = min((len(str(int(size))) - 1) // 3, len(_UNITS) - 1)
    amount = int(size) // 10 ** max(3 * unit - 3, 0)  # in thousandths of the unit, or bytes
    if unit == 0:
        return f"{amount} bytes"
    return f"{amount / 1000:.4g} {_UNITS[unit]}" if amount < 10**9 else f"over 1e6 {_UNITS[-1]}"


def available_memory() -> int | None:
    """Bytes that this process can still take; None where the system does not tell.

    The least of what the machine has free, what the process's control group (that of a container
    or of a batch job) still allows, and the limit of its address space.
    """
    return min(_limits(), default=None)


def _limits() -> Iterator[int]:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            yield 1024 * int(line.split()[1])
            yield from _left_of_groups(Path("/sys/fs/cgroup"))
            yield from _left_of_address_space()
            return
    try:  # macOS and others: what is free is not told
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return


def _left_of_groups(root: Path) -> Iterator[int]:
    """What the process's control group and those around it leave, version 2 or 1."""
    for line in _lines(Path("/proc/self/cgroup")):
        _, kinds, path = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        base, names = (root, _NAMES[2]) if kinds == "" else (root / "memory", _NAMES[1])
        group = base / path.strip("/")
        for folder in (group, *group.parents):
            limit, used, cache = (_number(folder, name) for name in names)
            if limit is not None and used is not None:
                yield max(0, limit - used + (cache or 0))
            if folder == base:
                break


# Files of a control group: the limit, the usage, and the part of it that can be dropped.
_NAMES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat total_inactive_file"),
    2: ("memory.max", "memory.current", "memory.stat inactive_file"),
}


def _number(folder: Path, name: str) -> int | None:
    """A number in a file, or behind a word in it; None if there is no such number, as for "max"."""
    file, _, word = name.partition(" ")
    for line in _lines(folder / file):
        found = line.split()
        if (not word or found[0] == word) and found[-1].isdigit():
            return int(found[-1])
    return None


def _left_of_address_space() -> Iterator[int]:
    import resource  # not on Windows, which has no /proc either

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    used = [line.split()[0] for line in _lines(Path("/proc/self/statm"))]
    if limit != resource.RLIM_INFINITY and used:
        yield max(0, limit - int(used[0]) * resource.getpagesize())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []
