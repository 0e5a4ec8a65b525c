"""How much memory is available, on machines and in containers that are written down here."""

from pathlib import Path

import pytest

from rnnjax.experiments import _memory
from rnnjax.experiments._memory import available_memory, check_fits, check_growth, in_units

MACHINE = {"/proc/meminfo": "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    8000 kB\n"}
SECOND = {
    "/proc/self/cgroup": "0::/job/step\n",
    "/sys/fs/cgroup/job/step/memory.max": "max\n",
    "/sys/fs/cgroup/job/step/memory.current": "5\n",
    "/sys/fs/cgroup/job/memory.max": "3000000\n",
    "/sys/fs/cgroup/job/memory.current": "1000000\n",
    "/sys/fs/cgroup/job/memory.stat": "anon 7\ninactive_file 400000\n",
}
FIRST = {
    "/proc/self/cgroup": "5:cpu:/\n4:memory:/job\n",
    "/sys/fs/cgroup/memory/job/memory.limit_in_bytes": "2000000\n",
    "/sys/fs/cgroup/memory/job/memory.usage_in_bytes": "500000\n",
}
WITHIN = {  # a container sees its own group as the root
    "/proc/self/cgroup": "0::/\n",
    "/sys/fs/cgroup/memory.max": "4000000\n",
    "/sys/fs/cgroup/memory.current": "5000000\n",
}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (MACHINE, 8000 * 1024),
        (MACHINE | SECOND, 2_400_000),
        (MACHINE | FIRST, 1_500_000),
        (MACHINE | WITHIN, 0),
    ],
    ids=["machine", "version 2", "version 1", "container"],
)
def test_the_least_of_what_machine_and_group_leave(files, expected, monkeypatch):
    monkeypatch.setattr(_memory, "_lines", lambda path: files.get(str(path), "").splitlines())
    assert available_memory() == expected


def test_a_system_that_does_not_tell(monkeypatch):
    monkeypatch.setattr(_memory, "_lines", lambda path: [])
    monkeypatch.setattr(_memory.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10}.get)
    assert available_memory() == 40960
    monkeypatch.delattr(_memory.os, "sysconf")
    assert available_memory() is None
    check_fits("anything", 10**30)


def test_this_machine_has_some():
    assert _memory._lines(Path("/no/such/file")) == []
    if Path("/proc/meminfo").exists():
        assert 10**6 < (available_memory() or 0) < 10**16


def test_what_does_not_fit(monkeypatch):
    monkeypatch.setattr(_memory, "available_memory", lambda: 10**9)
    check_fits("x", 5 * 10**8)
    message = r"^x would take 501 MB of memory, more than 50% of the 1 GB available$"
    with pytest.raises(ValueError, match=message):
        check_fits("x", 501 * 10**6)
    check_growth("x", 10**8, 10**10)
    with pytest.raises(ValueError, match=r"^x would grow from 99 MB to 10 GB, over 100 times"):
        check_growth("x", 99 * 10**6, 10**10)


def test_units():
    sizes = {0: "0 bytes", 999: "999 bytes", 1500: "1.5 kB", 22_386_360_320: "22.39 GB"}
    for size, text in sizes.items():
        assert in_units(size) == text
    assert in_units(10**400) == "over 1e6 PB"
