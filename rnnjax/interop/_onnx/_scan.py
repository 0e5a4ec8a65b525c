"""Any cell over a sequence as an ONNX Scan, whose body is the cell's step."""

from functools import partial

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.interop._onnx._graph import Graph, reversed_in_time
from rnnjax.interop._onnx._jaxpr import Translator
from rnnjax.interop._onnx._run import Run, real_step
from rnnjax.running import select


def scan_of(
    run: Run, cell: Cell, params: Params, xs: PyTree, xs_type: PyTree, carry: PyTree, reverse: bool
) -> tuple[PyTree, PyTree, PyTree]:
    """Add a Scan to the run's graph, and return the final carry, ys and the type of a y_t.

    xs and carry are trees of values, xs_type of what one step of xs is.
    """
    graph, states, masked = run.graph, jax.tree.leaves(carry), run.lengths is not None
    sequences = [*jax.tree.leaves(xs), *([run.time()] if masked else [])]
    if reverse:
        sequences = [reversed_in_time(graph, x) for x in sequences]
    types = [run.carry_type(cell, params), xs_type]
    step, shared_types, shared = real_step, [], []
    if masked:
        types.append(jax.ShapeDtypeStruct((), jnp.int32))
        step, shared = _masked_step, [run.lengths]
        shared_types = [jax.ShapeDtypeStruct((run.batch,), jnp.int32)]
    trace = jax.make_jaxpr(partial(step, cell), return_shape=True)
    traced, results = trace(params, *types, *shared_types)
    body = Graph(graph)
    inputs = [body.name("state") for _ in states] + [body.name("x") for _ in sequences]
    arguments = [*jax.tree.leaves(params), *inputs, *shared]
    outputs = Translator(body, repr(cell), run.batch, run.batch_size).translate(traced, arguments)
    returned = {body.name("out"): value for value in outputs}
    body.outputs_named(returned)
    infos = run.infos(inputs, types), run.infos([*returned], results)
    proto, count = body.proto("step", *infos, outermost=False), len(sequences)
    found = graph.ops("Scan", len(outputs), *states, *sequences, num_scan_inputs=count, body=proto)
    last, ys = found[: len(states)], found[len(states) :]
    if reverse:
        ys = [reversed_in_time(graph, y) for y in ys]
    return (
        jax.tree.unflatten(jax.tree.structure(carry), last),
        jax.tree.unflatten(jax.tree.structure(results[1]), ys),
        results[1],
    )


def _masked_step(
    cell: Cell, params: Params, carry: Carry, x_t: PyTree, t: Array, lengths: Array
) -> tuple[Carry, PyTree]:
    """A step that leaves the carry as it is, and gives zeros, from each sequence's length on."""
    new, y_t = real_step(cell, params, carry, x_t)
    valid = t < lengths
    return select(valid, new, carry), select(valid, y_t, jax.tree.map(jnp.zeros_like, y_t))
