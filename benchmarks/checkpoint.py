"""A PyTorch checkpoint here and in PyTorch: the same numbers, and how long they take.

    taskset -c 0 python -m benchmarks.checkpoint

A bidirectional LSTM of two layers with random weights, outputs and gradients compared before they
are timed. Without `taskset` each side has as many threads as it takes by itself.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from benchmarks.statistics import speedup, summary
from benchmarks.timing import interleave
from rnnjax.interop import from_torch, to_torch

SETTINGS = ((100, 16, 32, 64), (100, 32, 64, 128), (100, 1, 64, 128))  # T, B, D, H
TOLERANCE = 1e-5  # of gradients, relative to the largest entry
BUDGET = 20.0  # seconds of each comparison


class Sides(NamedTuple):
    ours: Callable[[], Any]
    theirs: Callable[[], Any]


def sides(T: int, B: int, D: int, H: int) -> dict[str, Sides]:
    """The forward pass and the gradient of Σ y², here and there.

    Raises:
      AssertionError: they differ.
    """
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    module = torch.nn.LSTM(D, H, num_layers=2, bidirectional=True)
    layer, params = from_torch(module.state_dict())
    xs = np.random.default_rng(0).standard_normal((T, B, D), np.float32)
    given, inputs = torch.tensor(xs), jnp.asarray(xs)
    apply = jax.jit(lambda params, xs: layer.apply(params, xs)[1])
    slope = jax.jit(jax.grad(lambda params, xs: jnp.sum(apply(params, xs) ** 2)))

    def forward() -> Any:
        with torch.no_grad():
            return module(given)[0]

    def backward() -> None:
        module.zero_grad()
        (module(given)[0] ** 2).sum().backward()

    np.testing.assert_allclose(apply(params, inputs), forward().numpy(), rtol=0, atol=1e-6)
    backward()
    found = to_torch(layer, slope(params, inputs), state_dict=True)
    for name, weight in module.named_parameters():
        if not name.startswith("bias_hh"):  # the gradient of bias_ih once more
            grad: Any = weight.grad  # None only before backward()
            want = grad.numpy()
            np.testing.assert_allclose(found[name], want, rtol=0, atol=TOLERANCE * abs(want).max())
    return {
        "forward": Sides(lambda: jax.block_until_ready(apply(params, inputs)), forward),
        "gradient": Sides(lambda: jax.block_until_ready(slope(params, inputs)), backward),
    }


if __name__ == "__main__":
    print(f"rnnjax {rnnjax.__version__}, on {len(os.sched_getaffinity(0))} cores")
    for setting in SETTINGS:
        for name, pair in sides(*setting).items():
            times = interleave(pair._asdict(), BUDGET)
            ours, theirs = (summary(times[side]) for side in Sides._fields)
            print(
                f"T, B, D, H = {setting}, {name}: {ours.median_ms:.2f} ms "
                f"[{ours.q1_ms:.2f}, {ours.q3_ms:.2f}], PyTorch {theirs.median_ms:.2f} ms "
                f"[{theirs.q1_ms:.2f}, {theirs.q3_ms:.2f}], "
                f"{speedup(times['ours'], times['theirs']):.2f} times as fast"
            )
