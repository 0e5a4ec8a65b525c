"""An LSTM's train step by `bptt()` and `autodiff()`, beside Flax's, in one process.

Gradients are compared with float64 before anything is timed, runs are interleaved (A B C A B
C …), and every ratio is to Flax. Run `python -m benchmarks.train_step --help`.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

import rnnjax

Array = jax.Array
Grad = Callable[..., tuple[rnnjax.cells.LSTMParams, Array]]
CELL = rnnjax.lstm


def rnnjax_gradient(hidden: int, gradient: rnnjax.Gradient) -> Grad:
    """∂C/∂(params, xs) of C = Σ weights ⊙ ys."""

    def cost(params: rnnjax.cells.LSTMParams, xs: Array, weights: Array) -> Array:
        _, ys = rnnjax.unroll(CELL(hidden), params, xs, gradient=gradient)
        return jnp.vdot(weights, ys)

    return jax.jit(jax.grad(cost, argnums=(0, 1)))


def flax_gradient(params: rnnjax.cells.LSTMParams) -> Grad:
    """The same by `nnx.RNN(nnx.OptimizedLSTMCell)`, with the same weights put in."""
    input_size, hidden = params.w_x.shape[0], params.w_h.shape[0]
    cell = nnx.OptimizedLSTMCell(input_size, hidden, rngs=nnx.Rngs(0))
    graph, _, rest = nnx.split(nnx.RNN(cell, time_major=True), nnx.Param, ...)

    def cost(params: rnnjax.cells.LSTMParams, xs: Array, weights: Array) -> Array:
        zeros = jnp.zeros((xs.shape[1], hidden), xs.dtype)
        state = nnx.State(
            {
                "cell": {
                    "dense_i": {"kernel": nnx.Param(params.w_x)},
                    "dense_h": {"kernel": nnx.Param(params.w_h), "bias": nnx.Param(params.b)},
                }
            }
        )
        ys = nnx.merge(graph, state, rest)(xs, initial_carry=(zeros, zeros))
        return jnp.vdot(weights, jnp.asarray(ys))

    return jax.jit(jax.grad(cost, argnums=(0, 1)))


def worst_error(found: tuple, exact: tuple) -> float:
    """The largest relative difference of any leaf."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True)
    return max(float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b))) for a, b in pairs)


def interleave(programs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every program in every round, one after the other."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        jax.block_until_ready(program())
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program())
            times[name].append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="128,32,128,256", help="T,B,I,H")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    length, batch, features, hidden = map(int, options.size.split(","))
    keys = jax.random.split(jax.random.key(0), 3)
    params = CELL(hidden, dtype=jnp.float32).init(keys[0], features)
    xs = jax.random.normal(keys[1], (length, batch, features), jnp.float32)
    weights = jax.random.normal(keys[2], (length, batch, hidden), jnp.float32)
    gradients = {
        "flax": flax_gradient(params),
        "autodiff": rnnjax_gradient(hidden, rnnjax.autodiff()),
        "bptt": rnnjax_gradient(hidden, rnnjax.bptt()),
    }
    with jax.enable_x64(True):
        wide = jax.tree.map(partial(jnp.asarray, dtype=jnp.float64), (params, xs, weights))
        exact = rnnjax_gradient(hidden, rnnjax.autodiff())(*wide)
        errors = {n: worst_error(g(params, xs, weights), exact) for n, g in gradients.items()}
    programs = {name: partial(g, params, xs, weights) for name, g in gradients.items()}
    times = interleave(programs, options.rounds)
    base = times["flax"]
    print(f"LSTM train step, T,B,I,H = {options.size}, float32, {jax.devices()[0]}")
    print(f"{'':10} {'median ms':>10} {'min ms':>8} {'speed / flax':>13} {'error':>9}")
    for name, seconds in times.items():
        ratio = statistics.median(b / s for b, s in zip(base, seconds, strict=True))
        print(
            f"{name:10} {statistics.median(seconds) * 1e3:10.1f} {min(seconds) * 1e3:8.1f}"
            f" {ratio:13.2f} {errors[name]:9.1e}"
        )


if __name__ == "__main__":
    main()
