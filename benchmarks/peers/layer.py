"""One layer of a JAX library, and nets made of one or two of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from benchmarks.problem import Problem
from benchmarks.program import Net


class Layer(NamedTuple):
    """A cell over a sequence, with its weights in the library's own arrangement."""

    params: Any
    apply: Callable[..., Any]  # (params, xs, lengths, reverse) -> ys, in the order of time
    block: Callable[[Any], Any]  # its gradients -> params of rnnjax's cell


def compose(
    problem: Problem, make: Callable[[str, Any], Layer], *, batch_first: bool = False
) -> Net:
    """The problem's net: layer on layer, or side by side in opposite directions."""
    layers = [make(problem.cell, block) for block in problem.blocks]
    bidirectional = problem.size.form == "bidirectional"

    def apply(params: Any, xs: Any, lengths: Any) -> Any:
        if bidirectional:
            pairs = zip(layers, params, (False, True), strict=True)
            return jnp.concatenate([la.apply(p, xs, lengths, r) for la, p, r in pairs], -1)
        for layer, layer_params in zip(layers, params, strict=True):
            xs = layer.apply(layer_params, xs, lengths, False)
        return xs

    def blocks(gradients: Any) -> tuple[Any, ...]:
        return tuple(la.block(g) for la, g in zip(layers, gradients, strict=True))

    return Net(tuple(layer.params for layer in layers), apply, blocks, batch_first)
