"""Loops and choices within a step, as far as they are known when the graph is made."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnjax.interop._onnx._complex import Pair
from rnnjax.interop._onnx._graph import Graph, Value

LONGEST = 64

Run = Callable[[Any, list[Value]], list[Value]]  # a closed jaxpr and its arguments


def chosen(run: Run, params: dict[str, Any], operands: list[Value]) -> list[Value]:
    """The results of a `lax.cond` or `lax.switch` whose branch is known."""
    which, *arguments = operands
    if isinstance(which, str):
        raise NotImplementedError("whose branch the inputs decide")
    return run(params["branches"][int(which)], arguments)


def unrolled(
    run: Run, graph: Graph, params: dict[str, Any], operands: list[Value], results: list[Any]
) -> list[Value]:
    """The results of a `lax.scan` or `fori_loop`, one copy of its body after the other."""
    steps, kept = params["length"], params["num_consts"]
    if steps > LONGEST:
        raise NotImplementedError(f"of {steps} steps, more than {LONGEST}")
    end = kept + params["num_carry"]
    constants, carry, xs = operands[:kept], operands[kept:end], operands[end:]
    order = range(steps)[::-1] if params["reverse"] else range(steps)
    found: dict[int, list[Value]] = {}
    for t in order:
        rows = [_row(graph, x, t) for x in xs]
        outputs = run(params["jaxpr"], [*constants, *carry, *rows])
        carry, found[t] = outputs[: len(carry)], outputs[len(carry) :]
    types = results[len(carry) :]
    if not steps:
        return [*carry, *(np.zeros(each.shape, each.dtype) for each in types)]
    return [*carry, *(_stacked(graph, [found[t][k] for t in range(steps)])
                      for k in range(len(types)))]  # fmt: skip


def _row(graph: Graph, x: Value, t: int) -> Value:
    if isinstance(x, Pair):
        return Pair(*(_row(graph, part, t) for part in x))
    if not isinstance(x, str):
        return np.asarray(x)[t]
    return graph.op("Gather", x, np.asarray(t, np.int64), axis=0)


def _stacked(graph: Graph, rows: list[Value]) -> Value:
    if isinstance(rows[0], Pair):
        return Pair(*(_stacked(graph, [row[k] for row in rows]) for k in (0, 1)))
    if not any(isinstance(row, str) for row in rows):
        return np.stack(rows)
    first = graph.integers([0])
    return graph.op("Concat", *(graph.op("Unsqueeze", row, first) for row in rows), axis=0)
