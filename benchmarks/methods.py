"""Every gradient and method over T: what it costs, and how far it is from the exact gradient."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

import rnnjax
from benchmarks.footprint import footprint_of
from benchmarks.statistics import summary
from benchmarks.tables import milliseconds
from benchmarks.timing import interleave, seconds
from benchmarks.ways import Way

B, D, H = 4, 16, 32
SIZES = {"B": B, "D": D, "H": H}
CELLS: dict[str, Callable[[], rnnjax.Cell]] = {
    "vanilla": lambda: rnnjax.vanilla(H, dtype=jnp.float32),
    "lstm": lambda: rnnjax.lstm(H, dtype=jnp.float32),
    "min_gru": lambda: rnnjax.min_gru(H, dtype=jnp.float32),
    "lru": lambda: rnnjax.lru(H, dtype=jnp.float32),
    "unicornn": lambda: rnnjax.unicornn(H, dtype=jnp.float32),
    "ctrnn": lambda: rnnjax.fixed_dt(rnnjax.ctrnn(H, tau=4.0, dtype=jnp.float32), 1.0),
}
LONG_RUN = 1.0  # seconds beyond which a program is run once
PATIENCE = 12.0  # seconds that a run may be expected to take, from that at the T before


class Point(NamedTuple):
    """One length of one cell's sequence."""

    cell: str
    T: int

    def __str__(self) -> str:
        return f"{self.cell} T = {self.T}"


class _Data(NamedTuple):
    """Float32 NumPy arrays; the loss is Σ weights ⊙ ys."""

    cell: rnnjax.Cell
    params: Any
    xs: np.ndarray  # [T, B, D]
    weights: Any  # as ys


class _Built(NamedTuple):
    run: Callable[[], Any]
    entry: dict[str, Any]


def measure_methods(
    point: Point, ways: Sequence[Way], budget: float, before: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One row, ready for JSON: an entry for each way, measured or with the reason why not.

    `before` is the row of a shorter sequence: what would take too long by it is left out.
    """
    data = _data(point)
    exact = _exact(data)
    entries: dict[str, dict[str, Any]] = {}
    short: dict[str, Callable[[], Any]] = {}
    for way in ways:
        expected = _expected(way, point, before)
        if expected > PATIENCE:
            reason = f"it would take about {expected:.0f} s"
            entries[way.name] = _named(way) | {"status": "too slow", "reason": reason}
            continue
        try:
            built = _build(way, data, exact)
        except (ValueError, RuntimeError) as reason:
            entries[way.name] = _named(way) | {"status": "refused", "reason": str(reason)}
            continue
        entries[way.name] = built.entry
        if built.entry["median_ms"] < LONG_RUN * 1e3:
            short[way.name] = built.run
    for name, times in interleave(short, budget).items():
        entries[name] |= summary(times)._asdict()
    jax.clear_caches()
    return {"cell": point.cell, "T": point.T, "entries": list(entries.values())}


def _named(way: Way) -> dict[str, str]:
    return {"name": way.name, "family": way.family}


def _expected(way: Way, point: Point, before: dict[str, Any] | None) -> float:
    """Seconds of a run, in proportion to T."""
    if before is None:
        return 0.0
    found = [e["median_ms"] for e in before["entries"] if e["name"] == way.name if "median_ms" in e]
    return sum(found) / 1e3 * point.T / before["T"]


def _data(point: Point) -> _Data:
    cell, rng = CELLS[point.cell](), np.random.default_rng(0)
    params = jax.tree.map(np.asarray, cell.init(jax.random.key(0), D))
    xs = rng.standard_normal((point.T, B, D), np.float32)
    ys = jax.eval_shape(lambda: rnnjax.unroll(cell, params, xs)[1])
    return _Data(cell, params, xs, rng.standard_normal(ys.shape, np.float32))


def _gradient(data: _Data, way: Way | None = None) -> Callable[..., Any]:
    """(params, xs, weights) -> loss and its gradient with respect to params."""
    options = {} if way is None else {"gradient": way.gradient, "method": way.method}

    def loss(params: Any, xs: Any, weights: Any) -> Any:
        return jnp.vdot(weights, rnnjax.unroll(data.cell, params, xs, **options)[1])

    return jax.value_and_grad(loss)


def _exact(data: _Data) -> np.ndarray:
    """`bptt()` of a plain loop in float64, as one vector."""
    exact = Way("", "", rnnjax.bptt(), rnnjax.sequential())
    if data.cell.rule is None:
        exact = exact._replace(gradient=rnnjax.autodiff())
    with jax.enable_x64(True):
        wide = jax.tree.map(partial(_wide, jnp), data[1:])
        return _vector(jax.jit(_gradient(data, exact))(*wide)[1])


def _wide(module: Any, leaf: Any) -> Any:
    kind = np.complex128 if np.iscomplexobj(leaf) else np.float64
    return module.asarray(leaf, kind)


def _vector(tree: Any) -> np.ndarray:
    leaves: list[Any] = [np.ravel(_wide(np, leaf)) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([part for leaf in leaves for part in (leaf.real, leaf.imag)])


def _build(way: Way, data: _Data, exact: np.ndarray) -> _Built:
    """Compile from cold and run once: seconds to compile, bytes, the first time and the error."""
    jax.clear_caches()
    arguments = jax.tree.map(jnp.asarray, data[1:])
    begin = time.perf_counter()
    lowered = jax.jit(_gradient(data, way)).lower(*arguments)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()

    def run() -> Any:
        return jax.block_until_ready(compiled(*arguments))

    found: Any = run()
    entry = _named(way) | {"status": "timed"}
    entry |= {"trace_s": traced - begin, "compile_s": done - traced}
    entry |= {"error": _error(_vector(found[1]), exact)} | _bytes(compiled)
    return _Built(run, entry | summary([seconds(run)])._asdict())


def _bytes(compiled: Any) -> dict[str, int | None]:
    found = footprint_of(compiled)
    return {"temporaries": found and found.temporaries, "total": found and found.total}


def _error(found: np.ndarray, exact: np.ndarray) -> float:
    """‖g - e‖ / ‖e‖ over all params."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def methods_table(row: dict[str, Any]) -> Table:
    """One cell and length."""
    title = f"{row['cell']}({H}), T = {row['T']}, B = {B}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None)
    table.add_column("")
    for heading in ("ms", "MiB", "compile s", "error"):
        table.add_column(heading, justify="right")
    for entry in row["entries"]:
        if "median_ms" in entry:
            table.add_row(entry["name"], *shown(entry))
    return table


def shown(entry: dict[str, Any]) -> tuple[str, str, str, str]:
    """Milliseconds, MiB, seconds to trace and compile, relative error."""
    size = entry["temporaries"]
    mebi = "-" if size is None else milliseconds(size / 2**20)
    whole = entry["trace_s"] + entry["compile_s"]
    return milliseconds(entry["median_ms"]), mebi, f"{whole:.2f}", f"{entry['error']:.2g}"


def left_out(row: dict[str, Any]) -> list[str]:
    """A line for each reason why ways of this row were not measured."""
    names = {
        status: [entry["name"] for entry in row["entries"] if entry["status"] == status]
        for status in ("refused", "too slow")
    }
    return [f"{status}: {', '.join(found)}" for status, found in names.items() if found]
