"""A train step at a million steps, by where its loss is: `python -m benchmarks.long [LOSS [T]]`.
What checkpoints cost beside none, both at one T: `python -m benchmarks.long beside [T]`.

LSTM, H = 64, B = 1, one input, float32. LOSS is one of

    last      of the last state, under `checkpointed()`
    mean      the mean over all steps of the error of a readout, under `checkpointed()`
    chunks    the same, in a `lax.scan` over chunks of 1,000 steps, each a `jax.checkpoint`
    in_step   the same, inside a cell of one's own, under `checkpointed()`
    plain     the same, with no checkpoints: for T that fit, 600 MiB resident at 150,000

Prints MiB that XLA plans beside arguments, seconds of CPU time, the least of three, and MiB that
the process had resident at most. Without LOSS each but `plain` is run in a process of its own.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax

H, CHUNK, ROUNDS = 64, 1000, 15
CELL = rnnjax.lstm(H)
Params = tuple[Any, Any]  # of the LSTM and of the readout


def last(params: Params, xs: Any, targets: Any) -> Any:
    carry, _ = rnnjax.unroll(CELL, params[0], xs, gradient=rnnjax.checkpointed())
    return jnp.mean((carry.h @ params[1] - targets[-1, :, 0]) ** 2)


def mean(params: Params, xs: Any, targets: Any) -> Any:
    return _mean(rnnjax.checkpointed(), params, xs, targets)


def plain(params: Params, xs: Any, targets: Any) -> Any:
    return _mean(None, params, xs, targets)


def _mean(gradient: Any, params: Params, xs: Any, targets: Any) -> Any:
    _, ys = rnnjax.unroll(CELL, params[0], xs, gradient=gradient)
    return jnp.mean((ys @ params[1] - targets[..., 0]) ** 2)


def chunks(params: Params, xs: Any, targets: Any) -> Any:
    @jax.checkpoint  # pyright: ignore[reportPrivateImportUsage]
    def chunk(carry: Any, at: Any) -> tuple[Any, Any]:
        carry, ys = rnnjax.unroll(CELL, params[0], at[0], carry=carry)
        return carry, jnp.sum((ys @ params[1] - at[1][..., 0]) ** 2)

    cut = [x.reshape(-1, CHUNK, *x.shape[1:]) for x in (xs, targets)]
    _, losses = jax.lax.scan(chunk, CELL.initial_carry(params[0], xs.shape[1:-1]), cut)
    return jnp.sum(losses) / xs.shape[0]


def in_step(params: Params, xs: Any, targets: Any) -> Any:
    def step(params: Params, carry: Any, at: Any) -> tuple[Any, Any]:
        carry, y_t = CELL.step(params[0], carry, at[..., :1])
        return carry, (y_t @ params[1] - at[..., 1]) ** 2

    def initial_carry(params: Params, batch_shape: Any, key: Any = None) -> Any:
        return CELL.initial_carry(params[0], batch_shape, key)

    cell = rnnjax.Cell(lambda *_: params, initial_carry, step)
    both = jnp.concatenate([xs, targets], -1)
    return jnp.mean(rnnjax.unroll(cell, params, both, gradient=rnnjax.checkpointed())[1])


LOSSES: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (last, mean, chunks, in_step, plain)
}


def problem(steps: int) -> tuple[Params, Any, Any]:
    """Params, xs and targets [T, 1, 1]."""
    xs = jnp.sin(jnp.arange(steps, dtype=jnp.float32))[:, None, None]
    params = CELL.init(jax.random.key(0), 1), jnp.full(H, 1 / H, jnp.float32)
    return params, xs, jnp.roll(xs, -1, 0)


def compiled_step(loss: str, given: tuple[Params, Any, Any]) -> Any:
    return jax.jit(jax.value_and_grad(LOSSES[loss])).lower(*given).compile()


def seconds(run: Callable[..., Any], given: tuple[Params, Any, Any]) -> tuple[float, float]:
    """Of CPU time and by the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    jax.block_until_ready(run(*given))
    return time.process_time() - cpu, time.perf_counter() - wall


def beside(steps: int) -> None:
    """Print the time of `mean` and `chunks` over that of `plain`, medians of interleaved rounds."""
    given = problem(steps)
    runs = {loss: compiled_step(loss, given) for loss in ("plain", "mean", "chunks")}
    rounds = [[seconds(run, given) for run in runs.values()] for _ in range(1 + ROUNDS)]
    times = dict(zip(runs, np.asarray(rounds[1:]).swapaxes(0, 1), strict=True))
    for loss, found in times.items():
        cpu, wall = np.median(found / times["plain"], 0)
        least = np.min(found, 0) / steps * 1e6
        print(
            f"{loss:8} T = {steps}: {least[0]:.2f} µs a step of CPU time, {least[1]:.2f} by the "
            f"clock; {cpu:.2f} and {wall:.2f} times plain"
        )


def main(loss: str, steps: int) -> None:
    """Print one line."""
    given = problem(steps)
    compiled = compiled_step(loss, given)
    times = [seconds(compiled, given)[0] for _ in range(3)]
    analysis: Any = compiled.memory_analysis()
    plan = analysis.temp_size_in_bytes / 2**20
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{loss:8} T = {steps}: {plan:6.1f} MiB, {min(times):.2f} s, {resident:.0f} MiB resident")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments:
        if arguments[0] == "beside":
            beside(int(arguments[1]) if arguments[1:] else 150_000)
        else:
            main(arguments[0], int(arguments[1]) if arguments[1:] else 1_000_000)
    else:
        for name in (name for name in LOSSES if name != "plain"):
            subprocess.run([sys.executable, "-m", "benchmarks.long", name], check=True)
