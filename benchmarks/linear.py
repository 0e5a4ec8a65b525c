"""The linear scan under `associative()` against XLA's: `python -m benchmarks.linear [dtype …]`.

Forward is h_t = a_t h_{t-1} + b_t from a, b and h_0; backward gives ∂C/∂(a, b, h_0) from the states
and ∂C/∂h_t. `copy` copies as many arrays as forward reads and writes.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.methods._linear_scan import linear_scan

SHAPES = ((4096, 8, 256), (1024, 32, 512))
ROUNDS = 15


def by_scan(a: Any, b: Any, h: Any) -> Any:
    def body(h: Any, step: Any) -> Any:
        h = step[0] * h + step[1]
        return h, h

    return jax.lax.scan(body, h, (a, b))[1]


def by_associative_scan(a: Any, b: Any, h: Any) -> Any:
    def join(x: Any, y: Any) -> Any:
        return y[0] * x[0], y[0] * x[1] + y[1]

    return jax.lax.associative_scan(join, (a, b.at[0].add(a[0] * h)))[1]


def by_kernel(a: Any, b: Any, h: Any) -> Any:
    return linear_scan(a, b, h, None, product="diagonal", reverse=False)[0]


def backward(run: Callable[..., Any], a: Any, b: Any, h: Any, ct: Any) -> Any:
    return jax.vjp(run, a, b, h)[1](ct)


def measure(dtype: str, shape: tuple[int, int, int]) -> str:
    """A row of milliseconds, the smallest of interleaved rounds."""
    rng = np.random.default_rng(0)
    size = np.dtype(dtype).itemsize // 4
    shape = (shape[0] // size, *shape[1:])  # the same bytes in every dtype
    turn = np.exp(1j * rng.uniform(0, 3, shape)) if np.dtype(dtype).kind == "c" else 1
    a, b = (jnp.asarray(x, dtype) for x in (rng.uniform(0.8, 1, shape) * turn, np.ones(shape)))
    h = jnp.ones(shape[1:], dtype)
    runs = {"kernel": by_kernel, "scan": by_scan, "associative_scan": by_associative_scan}
    programs: dict[str, tuple[Any, Any]] = {
        "copy": (jax.jit(lambda *xs: [x.copy() for x in xs]), (a, b, b))
    }
    for name, run in runs.items():
        programs[f"{name}, forward"] = (jax.jit(run), (a, b, h))
        # Forward and backward: what a training step runs.
        programs[f"{name}, both"] = (jax.jit(partial(backward, run)), (a, b, h, b))
    for f, operands in programs.values():
        jax.block_until_ready(f(*operands))
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, (f, operands) in programs.items():
            begin = time.perf_counter()
            jax.block_until_ready(f(*operands))
            times[name].append(time.perf_counter() - begin)
    cells = [f"{1e3 * min(values):.3g}" for values in times.values()]
    return f"| {dtype} {shape} | " + " | ".join(cells) + " |"


def main(dtypes: list[str]) -> None:
    """Print a Markdown table."""
    jax.config.update("jax_enable_x64", True)
    names = [
        f"{n}, {p}" for n in ("kernel", "scan", "associative_scan") for p in ("forward", "both")
    ]
    print("| dtype T,B,H | copy | " + " | ".join(names) + " |")
    print("| --- |" + " ---: |" * (1 + len(names)))
    for dtype in dtypes or ["float32", "float64", "complex64", "complex128"]:
        for shape in SHAPES:
            print(measure(dtype, shape), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
