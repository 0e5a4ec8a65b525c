"""`to_onnx`: cells and layers as models that ONNX runtimes run."""

import re
from typing import Any

import jax
import numpy as np

from rnnjax._checks import check_flag
from rnnjax._types import Cell, Params, PyTree
from rnnjax.interop._arrays import peer
from rnnjax.interop._onnx._complex import apart
from rnnjax.interop._onnx._graph import IR_VERSION, OPSET, Graph, info
from rnnjax.interop._onnx._jaxpr import batch_standing_in
from rnnjax.interop._onnx._parts import add, carry_type, checked, step_type
from rnnjax.interop._onnx._run import Run
from rnnjax.unrolling import Layer


def to_onnx(
    cell: Cell | Layer,
    params: Params,
    xs: PyTree = None,
    *,
    lengths: bool = False,
    carry: bool = False,
    reverse: bool = False,
    scan: bool = False,
) -> Any:
    """Export a cell over whole sequences as an ONNX model: what `unroll` computes with it.

        carry, ys = rnnjax.unroll(cell, params, xs, lengths=lengths, carry=carry, reverse=reverse)

    A `vanilla`, `lstm`, `peephole_lstm`, `cifg` or `gru` becomes ONNX's RNN, LSTM or GRU, the cells
    of a `stack` and the parts of `serial` and `bidirectional` one node each; two directions of one
    kind and size are one node. Any other cell becomes
    a Scan whose body is its step, operator by operator, in its evaluation form: without dropout and
    noise. Loops in it are unrolled. The bias is written as the input's, zeros as the recurrent one.

    The model's inputs and outputs, for any T and one batch axis of any size B:

    - "xs" [T, B, D], or "xs_0", "xs_1" for leaves of a pytree
    - "lengths" int32 [B], if lengths is true
    - "initial_h" [B, H] and so on, if carry is true: one for each leaf of the carry, by its path in
      it, such as "initial_0_h" in a stack. Otherwise the cell's own initial carry
    - "ys" [T, B, H], likewise, zero from each sequence's length on
    - "final_h" [B, H] and so on, the last carry, each sequence's own

    A complex leaf is two tensors, "initial_h_re" and "initial_h_im".

    onnxruntime runs RNN, LSTM and GRU in float32 and float16, and none of them in float64: with
    scan=True all is a Scan, which it runs in float64 as well.

    Args:
      cell: a `Cell`, or a layer made by `recurrent`, `bidirectional` or `serial`.
      params: its weights; the model holds them in their dtype.
      xs: an example of inputs [T, B, ...], or a `jax.ShapeDtypeStruct` of one; only the features
        count. It may be left out where the params say how many there are.
      lengths: whether the model has an input for the lengths of right-padded sequences.
      carry: whether it has inputs for the initial carry.
      reverse: run from the last step to the first.
      scan: use a Scan where ONNX has a node for the cell, too.

    Returns:
      An `onnx.ModelProto` of opset 18; `onnx.save(model, path)` writes it.

    Raises:
      TypeError: neither a cell nor a layer, or params that are not its own.
      ValueError: a step that uses a primitive without an ONNX operator, which is named, or
        bfloat16 weights; or xs is needed.
      ImportError: onnx is not installed.

    Example:
      >>> import jax, rnnjax
      >>> def run(cell, params, xs):
      ...     import onnxruntime
      ...     model = rnnjax.interop.to_onnx(cell, params)
      ...     session = onnxruntime.InferenceSession(model.SerializeToString())
      ...     return session.run(["ys"], {"xs": xs})[0]

    References:
      The operators' specification: https://onnx.ai/onnx/operators, RNN, LSTM, GRU and Scan.
    """
    for name, flag in (
        ("lengths", lengths),
        ("carry", carry),
        ("reverse", reverse),
        ("scan", scan),
    ):
        check_flag(name, flag)
    if reverse and isinstance(cell, Layer):
        raise ValueError(f"reverse=True is for a cell: {cell!r} has directions of its own")
    params = checked(cell, params)
    helper = peer("onnx").helper
    xs_type = step_type(cell, params, xs)
    batch = batch_standing_in(params, xs_type)
    xs_type = apart(
        jax.tree.map(lambda x: jax.ShapeDtypeStruct((batch, *x.shape), x.dtype), xs_type)
    )
    graph = Graph()
    names = _named("xs", xs_type)
    run = Run(graph, jax.tree.leaves(names)[0], "lengths" if lengths else None, batch)
    types = carry_type(run, cell, params)
    initial = _named("initial", types) if carry else None
    last, ys, ys_type = add(run, cell, params, names, xs_type, initial, reverse, scan)
    inputs = run.infos(names, xs_type, over_time=True)
    if lengths:
        inputs.append(info("lengths", np.int32, ("B",)))
    if carry:
        inputs += run.infos(initial, types)
    returned, finals = _named("ys", ys_type), _named("final", types)
    values = jax.tree.leaves((ys, last))
    graph.outputs_named(dict(zip(jax.tree.leaves((returned, finals)), values, strict=True)))
    outputs = run.infos(returned, ys_type, over_time=True) + run.infos(finals, types)
    return helper.make_model(
        graph.proto("rnnjax", inputs, outputs, outermost=True),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="rnnjax",
    )


def _named(prefix: str, tree: PyTree) -> PyTree:
    """Each leaf's name by its path: "initial_h", "initial_0_h"."""

    def name(path: Any, _: Any) -> str:
        return "_".join([prefix, *re.findall(r"\w+", jax.tree_util.keystr(path))])

    return jax.tree_util.tree_map_with_path(name, tree)
