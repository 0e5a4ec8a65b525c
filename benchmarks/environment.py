"""Where a result comes from: versions, processor, device, and the rate of its matrix products."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.timing import seconds

_PACKAGES = (
    "rnnjax", "jax", "jaxlib", "flax", "equinox", "dm-haiku", "keras", "torch", "numpy",
)  # fmt: skip
_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "XLA_FLAGS")
_SIDE = 2048  # of the square matrices


def environment() -> dict[str, Any]:
    """Everything that a time depends on and that this process can see."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": cores(),
        "device": str(jax.devices()[0].device_kind),
        "backend": jax.default_backend(),
        "versions": {package: _version(package) for package in _PACKAGES},
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def matmul_rate(repeats: int = 5) -> float:
    """Floating operations a second of a 2048³ float32 product: the best of several."""
    a = jax.random.normal(jax.random.key(0), (_SIDE, _SIDE), jnp.float32)
    product = jax.jit(jnp.matmul)
    product(a, a).block_until_ready()
    best = min(seconds(lambda: product(a, a).block_until_ready()) for _ in range(repeats))
    return 2 * _SIDE**3 / best


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
