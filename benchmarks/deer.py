"""A training step by `deer()` against `sequential()` and `native()`: `python -m benchmarks.deer`.

Value and gradient of one `unroll`, float32: milliseconds, the smallest of interleaved rounds, MiB
of temporary memory that XLA plans, and the iterations to convergence.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp

import rnnjax
from rnnjax import Cell
from rnnjax.flow import predictability
from rnnjax.methods import AVAILABILITY, explain, solve

CELLS = {
    "vanilla(32)": rnnjax.vanilla(32),
    "gru(32)": rnnjax.gru(32),
    "indrnn(256, 'tanh')": rnnjax.indrnn(256, "tanh"),
}
LENGTHS = (128, 512, 2048)
B, D, ROUNDS = 4, 16, 5
METHODS = {
    "sequential": rnnjax.sequential(),
    "native": rnnjax.native(),
    "deer": rnnjax.deer(),
    "quasi": rnnjax.deer(quasi=True, max_iterations=1000),
}


def measure(name: str, cell: Cell, steps: int) -> str:
    """A row of the table."""
    params = cell.init(jax.random.key(0), D)
    xs = jax.random.normal(jax.random.key(1), (steps, B, D))
    programs: dict[str, Any] = {}
    for key, method in METHODS.items():
        if key == "native" and (AVAILABILITY["native"]() or not _is_native(cell, params, xs)):
            continue

        def cost(params: Any, xs: Any, method: Any = method) -> Any:
            return jnp.sum(rnnjax.unroll(cell, params, xs, method=method)[1] ** 2)

        programs[key] = jax.jit(jax.value_and_grad(cost, (0, 1))).lower(params, xs).compile()
    times: dict[str, list[float]] = {key: [] for key in programs}
    for _ in range(1 + ROUNDS):
        for key, program in programs.items():
            begin = time.perf_counter()
            jax.block_until_ready(program(params, xs))
            times[key].append(time.perf_counter() - begin)
    cells = [name, str(steps)]
    for key in METHODS:
        if key not in programs:
            cells.append("")
            continue
        size = programs[key].memory_analysis().temp_size_in_bytes / 2**20
        cells.append(f"{1e3 * min(times[key][1:]):.3g} ms, {size:.3g} MiB")
    counts = [
        int(solve(cell, params, xs, method=METHODS[k]).iterations.max()) for k in ("deer", "quasi")
    ]
    exponent = predictability(cell, params, xs).exponent
    cells += ["{} / {}".format(*counts), f"{exponent:+.2f}"]
    return "| " + " | ".join(cells) + " |"


def _is_native(cell: Cell, params: Any, xs: Any) -> bool:
    method = explain(cell, params, xs).method
    return method is not None and method.name == "native"


def main() -> None:
    """Print a Markdown table."""
    print("| cell | T | " + " | ".join(METHODS) + " | iterations, deer / quasi | λ_1 |")
    print("| --- |" + " ---: |" * (3 + len(METHODS)))
    for name, cell in CELLS.items():
        for steps in LENGTHS:
            print(measure(name, cell, steps), flush=True)


if __name__ == "__main__":
    main()
