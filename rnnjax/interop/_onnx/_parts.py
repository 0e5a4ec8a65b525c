"""Cells and layers taken apart, and put into a graph one after the other."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import check_inputs, described
from rnnjax._params import input_dtypes
from rnnjax._types import Cell, Params, PyTree, initial_carry, known
from rnnjax.combinators import without_learned_carries
from rnnjax.interop._arrays import check_untraced
from rnnjax.interop._onnx._graph import Value
from rnnjax.interop._onnx._operators import node_of, operator
from rnnjax.interop._onnx._run import Run
from rnnjax.interop._onnx._scan import scan_of
from rnnjax.unrolling import Layer, check_model_params


def _parts(model: Cell | Layer) -> tuple[str, tuple[Any, ...], bool]:
    """Of what a model is made: how, its parts, and whether it runs backwards."""
    if isinstance(model, Cell):
        layers = known(model).layers
        return ("serial", layers, False) if layers else ("cell", (), False)
    if not isinstance(model, Layer):
        raise TypeError(
            f"cell must be a Cell such as rnnjax.lstm(128), or a Layer, got {described(model)}"
        )
    if model.call is None:
        raise ValueError(
            f"to_onnx takes layers made by rnnjax.recurrent, bidirectional or serial, got {model}"
        )
    backwards = dict(model.call.keywords).get("reverse", False)
    return model.call.name, model.call.positional, backwards


def checked(model: Cell | Layer, params: Params) -> Params:
    """The params, if they are those of the model, and known numbers that ONNX computes with."""
    _parts(model)
    params = check_model_params(model, params)
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        check_untraced(f"params{jax.tree_util.keystr(path)}", leaf)
        if leaf.dtype == jnp.bfloat16:
            raise ValueError(
                "params are bfloat16, which ONNX's runtimes do not compute recurrences in: export "
                "jax.tree.map(lambda w: w.astype(jnp.float32), params)"
            )
    return params


def step_type(model: Cell | Layer, params: Params, xs: PyTree) -> PyTree:
    """Shapes and dtypes of what the model reads at one step of one example."""
    cell, cell_params = _first(model, params)
    if xs is None:
        features = _features(cell, cell_params)
        if features is None:
            raise ValueError(
                f"the params of {cell!r} do not say what it reads: pass xs, an example of inputs "
                "[T, B, ...] or a jax.ShapeDtypeStruct of one"
            )
        xs = jax.ShapeDtypeStruct((1, 1, features), jnp.float32)
    elif not all(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(xs)):
        xs = check_inputs(xs)
    for x in jax.tree.leaves(xs):
        if jnp.ndim(x) < 2:
            raise ValueError(f"xs must be [T, B, ...], got {described(x)}")
    dtypes = input_dtypes(cell_params, xs)

    def step(cell_params: Params, batch: int) -> PyTree:
        one = jax.tree.map(lambda x, t: jnp.zeros((batch, *jnp.shape(x)[2:]), t), xs, dtypes)
        return cell.step(cell_params, initial_carry(cell, cell_params, (batch,)), one)

    jax.eval_shape(partial(step, batch=1), cell_params)  # xs that it does not read are an error
    return jax.tree.map(lambda x, t: jax.ShapeDtypeStruct(jnp.shape(x)[2:], t), xs, dtypes)


def _first(model: Cell | Layer, params: Params) -> tuple[Cell, Params]:
    """The first cell that reads the inputs, and its params."""
    kind, parts, _ = _parts(model)
    if isinstance(model, Cell) and kind == "cell":
        return without_learned_carries(model, params)
    return _first(parts[0], params if kind == "recurrent" else params[0])


def _features(cell: Cell, params: Params) -> int | None:
    """D, where the cell's structure says which size of the params it is."""
    structure = known(cell)
    if structure.feature_axes != 1 or not hasattr(structure.params, "_fields"):
        return None
    sizes = {
        name: size
        for shape, leaf in zip(structure.params, params, strict=True)
        if leaf is not None
        for name, size in zip(shape, leaf.shape, strict=True)
    }
    return sizes.get("D")


def carry_type(run: Run, model: Cell | Layer, params: Params) -> PyTree:
    """Shapes and dtypes of the carry of a model."""
    kind, parts, _ = _parts(model)
    if kind == "cell":
        return run.carry_type(model, params)  # pyright: ignore
    if kind == "recurrent":
        return carry_type(run, parts[0], params)
    return tuple(carry_type(run, part, p) for part, p in zip(parts, params, strict=True))


def add(
    run: Run,
    model: Cell | Layer,
    params: Params,
    xs: Value,
    xs_type: PyTree,
    carry: PyTree,
    reverse: bool,
    scan: bool,
) -> tuple[PyTree, PyTree, PyTree]:
    """Add a model to the run's graph, and return the final carry, ys and the type of a y_t."""
    kind, parts, backwards = _parts(model)
    if kind == "cell":
        return _add_cell(run, model, params, xs, xs_type, carry, reverse, scan)  # pyright: ignore
    if kind == "recurrent":
        return add(run, parts[0], params, xs, xs_type, carry, backwards, scan)
    pair = list(zip(parts, params, strict=True))
    if kind == "bidirectional" and not scan and _are_one_node(pair):
        return _add_both(run, pair, xs, xs_type, carry)
    finals, outputs = [], []
    for k, (part, part_params) in enumerate(pair):
        part_carry = None if carry is None else carry[k]
        backwards = reverse if kind == "serial" else k == 1
        last, ys, ys_type = add(run, part, part_params, xs, xs_type, part_carry, backwards, scan)
        finals.append(last)
        outputs.append((ys, ys_type))
        if kind == "serial":
            xs, xs_type = ys, ys_type
    if kind == "serial":
        return tuple(finals), xs, xs_type
    (ys, forward), (ys_back, backward) = outputs
    size = forward.shape[-1] + backward.shape[-1]
    both = jax.ShapeDtypeStruct((*forward.shape[:-1], size), forward.dtype)
    return tuple(finals), run.graph.op("Concat", ys, ys_back, axis=-1), both


def _are_one_node(pair: list[tuple[Any, Params]]) -> bool:
    """Whether both directions are cells of one kind, size and dtype, which ONNX has a node for."""
    if not all(isinstance(part, Cell) and not known(part).layers for part, _ in pair):
        return False
    inner = [without_learned_carries(*each) for each in pair]
    forms = [known(cell).form for cell, _ in inner]
    one, two = (jax.tree.map(lambda w: (w.shape, str(w.dtype)), params) for _, params in inner)
    return operator(forms[0]) is not None and (forms[0], one) == (forms[1], two)


def _add_both(
    run: Run, pair: list[tuple[Cell, Params]], xs: Value, xs_type: PyTree, carry: PyTree
) -> tuple[PyTree, Value, PyTree]:
    """Two directions as one node."""
    inner = [without_learned_carries(*each) for each in pair]
    carries = [None, None] if carry is None else list(carry)
    if carry is None and not all(_begins_at_zero(*each) for each in pair):
        carries = [run.initial_carry(*each) for each in pair]
    op = operator(known(inner[0][0]).form) or ""
    finals, ys, ys_type = node_of(op, run, inner, xs, xs_type, carries)
    return tuple(finals), ys, ys_type


def _add_cell(
    run: Run,
    cell: Cell,
    params: Params,
    xs: PyTree,
    xs_type: PyTree,
    carry: PyTree,
    reverse: bool,
    scan: bool,
) -> tuple[PyTree, PyTree, PyTree]:
    inner, inner_params = without_learned_carries(cell, params)
    op = None if scan else operator(known(inner).form)
    if carry is None and (op is None or not _begins_at_zero(cell, params)):
        carry = run.initial_carry(cell, params)
    if op is None:
        return scan_of(run, inner, inner_params, xs, xs_type, carry, reverse)
    pair = [(inner, inner_params)]
    (last,), ys, ys_type = node_of(op, run, pair, xs, xs_type, [carry], reverse)
    return last, ys, ys_type


def _begins_at_zero(cell: Cell, params: Params) -> bool:
    return not any(map(np.any, jax.tree.leaves(initial_carry(cell, params, (1,)))))
