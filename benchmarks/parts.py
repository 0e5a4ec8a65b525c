"""Where a portable train step spends its time: the parts of `bptt()`, each a program of its own."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from rich.table import Table

from benchmarks.ours import Variant, variant_net
from benchmarks.problem import CELLS, GATES, Problem, Size, make_problem
from benchmarks.program import jax_program
from benchmarks.statistics import summary
from benchmarks.tables import milliseconds
from benchmarks.timing import interleave


class Part(NamedTuple):
    """`run()` computes it and waits; `flops` are those of its matrix products."""

    run: Callable[[], Any]
    flops: float


def measure_parts(cell: str, size: Size, seconds: float) -> dict[str, Any]:
    """One row, ready for JSON: milliseconds of each part, and the products' operations in it."""
    if size.form != "plain":
        raise ValueError(f"parts takes plain sizes, one layer in one direction, got {size}")
    problem = make_problem(cell, size)
    parts = _parts(problem)
    times = interleave({name: part.run for name, part in parts.items()}, seconds)
    jax.clear_caches()
    found = {
        name: {"flops": part.flops, **summary(times[name])._asdict()}
        for name, part in parts.items()
    }
    return {"cell": cell, "size": str(size), "parts": found}


def _parts(problem: Problem) -> dict[str, Part]:
    cell = CELLS[problem.cell](problem.size.H)
    rule = cell.rule
    if rule is None:
        raise ValueError(f"{problem.cell} has no rule to take apart")
    params, xs, weights = jax.tree.map(jnp.asarray, (*problem.blocks, problem.xs, problem.weights))
    carry = cell.initial_carry(params, xs.shape[1:-1])

    @jax.jit
    def forward(params: Any, xs: Any) -> Any:
        return jax.lax.scan(partial(cell.step, params), carry, xs)[1]

    @jax.jit
    def taped(params: Any, xs: Any) -> Any:
        def body(carry: Any, x_t: Any) -> Any:
            (carry, y_t), tape_t = rule.forward(params, carry, rule.project(params, x_t))
            return carry, (y_t, tape_t)

        return jax.lax.scan(body, carry, xs)[1]

    @jax.jit
    def backward(params: Any, tapes: Any, ys_ct: Any) -> Any:
        def body(carry_ct: Any, tape_and_ct: Any) -> Any:
            tape_t, y_ct = tape_and_ct
            return rule.backward(params, tape_t, carry_ct, y_ct, lambda delta: delta)

        return jax.lax.scan(body, carry, (tapes, ys_ct), reverse=True)[1]

    gradients = jax.jit(rule.gradients)
    _, tapes = taped(params, xs)
    deltas = backward(params, tapes, weights)
    whole = jax_program(
        "whole", variant_net(problem, Variant("sequential", "bptt")), problem, "train", "rnnjax"
    )
    T, B, I, H, _ = problem.size  # noqa: E741
    products = 2.0 * T * B * GATES[problem.cell] * H  # of one input or hidden unit

    def timed(function: Any, *args: Any) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(function(*args))

    return {
        "forward": Part(timed(forward, params, xs), products * (I + H)),
        "forward with tape": Part(timed(taped, params, xs), products * (I + H)),
        "backward loop": Part(timed(backward, params, tapes, weights), products * H),
        "weights' and inputs' gradients": Part(
            timed(gradients, params, xs, tapes, deltas), products * (2 * I + H)
        ),
        "whole train step": Part(whole.run, products * 3 * (I + H)),
    }


def parts_table(rows: list[dict[str, Any]], rate: float) -> Table:
    """Milliseconds of each part, and the floor of its products at `rate`."""
    table = Table(title="sequential() with bptt(), ms (floor)", title_justify="left", box=None)
    names = list(rows[0]["parts"])
    for heading in ("cell", "T,B,I,H", *names):
        table.add_column(heading, justify="left" if heading in ("cell", "T,B,I,H") else "right")
    for row in rows:
        table.add_row(row["cell"], row["size"], *(_shown(row["parts"][n], rate) for n in names))
    return table


def _shown(part: dict[str, Any], rate: float) -> str:
    floor = milliseconds(part["flops"] / rate * 1e3)
    return f"{milliseconds(part['median_ms'])} ({floor})"
