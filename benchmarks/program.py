"""A program: one pass of one library on one problem, ready to be run, checked and timed."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.problem import Blocks, Pass, Problem, valid_steps

Family = Literal["rnnjax", "jax", "torch"]
Answer = dict[str, np.ndarray]


class Program(NamedTuple):
    """`run()` computes everything and waits for it; `answer(run())` is what it computed."""

    name: str
    family: Family
    run: Callable[[], Any]
    answer: Callable[[Any], Answer]
    lower: Callable[[], Any] | None = None  # JAX's stages: `jit(f).lower(*args)`


class Net(NamedTuple):
    """A recurrent net that holds a problem's weights in a library's own arrangement."""

    params: Any
    apply: Callable[..., Any]  # (params, xs, lengths) -> ys
    blocks: Callable[[Any], Blocks]  # its own gradients -> the problem's arrangement
    batch_first: bool = False  # xs [B, T, I] and ys [B, T, H]


def jax_program(
    name: str, net: Net, problem: Problem, which: Pass, family: Family = "jax"
) -> Program:
    """Jit a net's forward pass, or its loss with the gradients of params and inputs."""

    def turn(array: Any) -> Any:
        return array.swapaxes(0, 1) if net.batch_first else array

    def cost(params: Any, xs: Any, weights: Any, lengths: Any) -> Any:
        return jnp.vdot(weights, net.apply(params, xs, lengths))

    def answer(output: Any) -> Answer:
        if which == "forward":
            return answer_of(problem, ys=turn(np.asarray(output)))
        _, (params_ct, xs_ct) = output
        blocks = net.blocks(jax.tree.map(np.asarray, params_ct))
        return answer_of(problem, blocks=blocks, xs_ct=turn(np.asarray(xs_ct)))

    given = (net.params, turn(problem.xs), turn(problem.weights), problem.lengths)
    params, xs, weights, lengths = jax.tree.map(jnp.asarray, given)
    if which == "forward":
        function, args = jax.jit(net.apply), (params, xs, lengths)
    else:
        function = jax.jit(jax.value_and_grad(cost, argnums=(0, 1)))
        args = (params, xs, weights, lengths)
    return Program(
        name,
        family,
        lambda: jax.block_until_ready(function(*args)),
        answer,
        lambda: function.lower(*args),
    )


def answer_of(
    problem: Problem,
    ys: np.ndarray | None = None,
    blocks: Blocks = (),
    xs_ct: np.ndarray | None = None,
) -> Answer:
    """Name every array; outputs in the padding, which libraries leave different, are dropped."""
    answer: Answer = {}
    if ys is not None:
        answer["ys"] = ys
        if problem.lengths is not None:
            answer["ys"] = ys * valid_steps(problem.lengths, problem.size.T)
    if xs_ct is not None:
        answer["xs"] = xs_ct
    for index, block in enumerate(blocks):
        for field, value in block._asdict().items():
            if value is not None:  # None: a weight that this library does not have
                answer[f"{field}[{index}]"] = np.asarray(value)
    return answer
