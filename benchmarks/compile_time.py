"""How long JAX takes to trace and XLA to compile a train step, before anything is run."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

import rnnjax
from benchmarks.ours import Variant, variant_options
from benchmarks.problem import CELLS, Unsupported

PYTHON_LOOP = "python loop"
B, H = 8, 32
_LONGEST_LOOP = 64  # steps that Python unrolls: beyond, XLA takes minutes
_PATIENCE = 10.0  # seconds after which a case is not repeated


class Case(NamedTuple):
    """One program along one axis; `variant` None is a loop that Python unrolls."""

    axis: str
    value: int
    cell: str
    variant: Variant | None

    def __str__(self) -> str:
        return f"{self.cell} {self.name} {self.axis} = {self.value}"

    @property
    def name(self) -> str:
        return PYTHON_LOOP if self.variant is None else f"rnnjax {self.variant}"


def cases(cell: str, variants: list[Variant], *, quick: bool = False) -> list[Case]:
    """Along T with one layer, and along depth with 8 steps; Python's loop up to T = 64."""
    grid = {"T": (4, 8) if quick else (8, 16, 32, 64, 256, 1024), "depth": (1, 2, 4, 8)}
    if quick:
        grid["depth"] = (1, 2)
    return [
        Case(axis, value, cell, variant)
        for axis, values in grid.items()
        for value in values
        for variant in [*variants, None]
        if variant is not None or axis == "depth" or value <= _LONGEST_LOOP
    ]


def measure_compile(case: Case, repeats: int = 3) -> dict[str, Any]:
    """Seconds to trace and lower, and to compile: medians of up to `repeats` cold runs."""
    T, depth = (case.value, 1) if case.axis == "T" else (8, case.value)
    row = {"axis": case.axis, "value": case.value, "cell": case.cell, "name": case.name}
    try:
        found = [_cold(case, T, depth)]
        while len(found) < repeats and np.sum(found) < _PATIENCE:
            found.append(_cold(case, T, depth))
    except Unsupported as reason:
        return row | {"reason": str(reason)}
    trace, compiled = np.median(found, axis=0)
    return row | {"trace_s": float(trace), "compile_s": float(compiled)}


def _cold(case: Case, T: int, depth: int) -> tuple[float, float]:
    jax.clear_caches()
    cost, shapes = _train_step(case, T, depth)
    start = time.perf_counter()
    lowered = jax.jit(jax.value_and_grad(cost, argnums=(0, 1))).lower(*shapes)
    traced = time.perf_counter()
    lowered.compile()
    return traced - start, time.perf_counter() - traced


def _train_step(case: Case, T: int, depth: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    cell = rnnjax.stack(*[CELLS[case.cell](H, dtype=jnp.float32)] * depth)
    params = jax.eval_shape(lambda key: cell.init(key, H), jax.random.key(0))
    xs = jax.ShapeDtypeStruct((T, B, H), jnp.float32)
    options = {} if case.variant is None else variant_options(case.variant)

    def run(params: Any, xs: Any) -> Any:
        if case.variant is None:
            return _python_loop(cell, params, xs)
        try:
            return rnnjax.unroll(cell, params, xs, **options)[1]
        except ValueError as error:
            raise Unsupported(str(error)) from error

    return lambda params, xs, weights: jnp.vdot(weights, run(params, xs)), (params, xs, xs)


def _python_loop(cell: rnnjax.Cell, params: Any, xs: Any) -> Any:
    carry = cell.initial_carry(params, xs.shape[1:-1])
    ys = []
    for x_t in xs:
        carry, y_t = cell.step(params, carry, x_t)
        ys.append(y_t)
    return jnp.stack(ys)


def compile_table(rows: list[dict[str, Any]]) -> Table:
    """Seconds for every case."""
    table = Table(title="Train step, seconds", title_justify="left", box=None)
    for heading in ("cell", "axis", "value", "program", "trace", "compile"):
        table.add_column(heading, justify="right" if heading in ("trace", "compile") else "left")
    for row in rows:
        found = [f"{row[k]:.3f}" if k in row else "-" for k in ("trace_s", "compile_s")]
        table.add_row(row["cell"], row["axis"], str(row["value"]), row["name"], *found)
    return table
