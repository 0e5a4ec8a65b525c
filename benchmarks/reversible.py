"""How far states that are reconstructed backwards drift, and what that does to a gradient."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

import rnnjax

H = 64
SETTINGS = ((0.1, 0.0), (0.1, 1.0), (0.19, 30.65))  # Δt and α; the last of the paper's psMNIST
STEPS = (100, 1000, 10_000, 100_000)
HEADINGS = ("Δt", "α", "T", "first carry", "gradient")


def settings(*, quick: bool = False) -> list[tuple[float, float, int]]:
    """Δt, α and T of each row."""
    steps = STEPS[:2] if quick else STEPS
    return [(dt, alpha, T) for dt, alpha in SETTINGS for T in steps]


def measure_drift(dt: float, alpha: float, T: int) -> dict[str, Any]:
    """One row: relative to the largest entry, the drift of the first carry and of the gradient.

    Everything in float32, on Gaussian inputs, against the same gradient with no state
    reconstructed. The loss is the mean of sin(ys).
    """
    cell = rnnjax.unicornn(H, dt=dt, alpha=alpha, dtype=jnp.float32)
    params = cell.init(jax.random.key(0), 1)
    xs = np.random.default_rng(0).standard_normal((T, 1, 1), np.float32)

    def slope(gradient: Any, params: Any) -> Any:
        def loss(params: Any) -> Any:
            return jnp.mean(jnp.sin(rnnjax.unroll(cell, params, xs, gradient=gradient)[1]))

        return jax.grad(loss)(params)

    def there_and_back(params: Any) -> tuple[Any, Any]:
        last, _ = rnnjax.unroll(cell, params, xs)
        inverse: Any = cell.structure.inverse
        back = jax.lax.scan(lambda c, x: (inverse(params, c, x), None), last, xs, reverse=True)
        return last, back[0]

    last, first = jax.jit(there_and_back)(params)  # the first carry is zero
    found = jax.jit(partial(slope, rnnjax.gradients.reversible(np.inf)))(params)
    exact = jax.jit(partial(slope, rnnjax.checkpointed()))(params)
    off = jax.tree.map(jnp.subtract, found, exact)
    return {
        "dt": dt,
        "alpha": alpha,
        "T": T,
        "carry": _largest(first) / _largest(last),
        "gradient": max(_largest(a) / _largest(b) for a, b in zip(off, exact, strict=True)),
    }


def _largest(tree: Any) -> float:
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def drift_table(rows: list[dict[str, Any]]) -> Table:
    """Relative errors."""
    table = Table(title=f"unicornn({H}), float32", title_justify="left", box=None)
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*cells_of(row))
    return table


def cells_of(row: dict[str, Any]) -> Iterator[str]:
    """As a table shows it."""
    yield from (f"{row['dt']:g}", f"{row['alpha']:g}", f"{row['T']:,}")
    yield from (f"{row['carry']:.0e}", f"{row['gradient']:.0e}")
