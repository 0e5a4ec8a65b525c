"""JAX's primitives as ONNX operators: the table behind the export of any cell's step.

A function of the table adds nodes to a graph and returns the names of the results. Its arguments
are a `Site` (the equation of the jaxpr, the graph, and which size is the batch's) and the names of
the operands; those of `PLACES` take operands as they are, to know where they read and write. Both
sides broadcast axes of size 1.
"""

import string
from collections.abc import Callable

import numpy as np

from rnnjax.interop._arrays import peer
from rnnjax.interop._onnx._elementwise import ELEMENTWISE, number
from rnnjax.interop._onnx._graph import EVERYTHING, Value
from rnnjax.interop._onnx._places import PLACES
from rnnjax.interop._onnx._site import Site


def _same(kind: str) -> Callable[..., str]:
    return lambda site, *operands: site.graph.op(kind, *operands)


def _chain(*kinds: str) -> Callable[..., str]:
    """The first operator, and each next one on its result."""

    def make(site: Site, *operands: str) -> str:
        value = site.graph.op(kinds[0], *operands)
        for kind in kinds[1:]:
            value = site.graph.op(kind, value)
        return value

    return make


def _logical(kind: str) -> Callable[..., str]:
    def make(site: Site, *operands: str) -> str:
        if site.result.dtype != bool:
            raise NotImplementedError("of integers, bit by bit")
        return site.graph.op(kind, *operands)

    return make


def _extreme(kind: str, of_booleans: str) -> Callable[..., str]:
    def make(site: Site, *operands: str) -> str:
        return site.graph.op(of_booleans if site.result.dtype == bool else kind, *operands)

    return make


def _cast(site: Site, x: str) -> str:
    if site.operands[0].dtype == site.result.dtype:
        return x
    helper = peer("onnx").helper
    return site.graph.op("Cast", x, to=helper.np_dtype_to_tensor_dtype(site.result.dtype))


def _select(site: Site, which: str, *cases: str) -> str:
    op = site.graph.op
    if site.operands[0].dtype == bool:
        return op("Where", which, cases[1], cases[0])
    chosen = cases[0]
    for k, case in enumerate(cases[1:], 1):
        chosen = op("Where", op("Equal", which, number(site, k)), case, chosen)
    return chosen


def _broadcast(site: Site, x: str) -> str:
    (operand,), graph = site.operands[:1], site.graph
    shape, axes = site.params["shape"], site.params["broadcast_dimensions"]
    if len(axes) < len(shape) and operand.ndim:
        x = graph.op("Unsqueeze", x, graph.integers(a for a in range(len(shape)) if a not in axes))
    aligned = [1] * len(shape)
    for axis, size in zip(axes, operand.shape, strict=True):
        aligned[axis] = size
    if tuple(aligned) == tuple(shape) and operand.ndim:
        return x
    if any(
        site.counts_batch(n) and n != site.batch
        for n, m in zip(shape, aligned, strict=True)
        if n != m
    ):
        raise NotImplementedError("to several times the batch")
    parts = [
        site.batch_size
        if size == site.batch != own
        else graph.integers([1 if size == own else size])
        for size, own in zip(shape, aligned, strict=True)
    ]
    return graph.op("Expand", x, graph.op("Concat", *parts, axis=0))


def _iota(site: Site) -> str:
    shape, axis, graph = site.params["shape"], site.params["dimension"], site.graph
    if site.counts_batch(shape[axis]):
        raise NotImplementedError("across the examples of a batch")
    numbers = np.arange(shape[axis], dtype=site.result.dtype)
    numbers = numbers.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return graph.op("Expand", numbers, graph.op("Concat", *map(site.size, shape), axis=0))


def _slice(site: Site, x: str) -> str:
    params, sizes = site.params, site.operands[0].shape
    steps = params["strides"] or (1,) * len(sizes)
    cuts = [
        (start, EVERYTHING if limit == size else limit, axis, step)
        for axis, (start, limit, step, size) in enumerate(
            zip(params["start_indices"], params["limit_indices"], steps, sizes, strict=True)
        )
        if (start, limit, step) != (0, size, 1)
    ]
    if not cuts:
        return x
    site.within_an_example(axis for _, _, axis, _ in cuts)
    return site.graph.op("Slice", x, *map(site.graph.integers, zip(*cuts, strict=True)))


def _stack(site: Site, *xs: str) -> str:
    graph, axis = site.graph, site.params["axis"]
    apart = [graph.op("Unsqueeze", x, graph.integers([axis])) for x in xs]
    return graph.op("Concat", *apart, axis=axis)


def _tile(site: Site, x: str) -> str:
    site.within_an_example(a for a, times in enumerate(site.params["reps"]) if times != 1)
    return site.graph.op("Tile", x, site.graph.integers(site.params["reps"]))


def _split(site: Site, x: str) -> list[str]:
    sizes, graph = site.params["sizes"], site.graph
    site.within_an_example([site.params["axis"]])
    return graph.ops("Split", len(sizes), x, graph.integers(sizes), axis=site.params["axis"])


def _rev(site: Site, x: str) -> str:
    axes, graph = site.params["dimensions"], site.graph
    many = len(axes)
    site.within_an_example(axes)
    start, end = [-1] * many, [np.iinfo(np.int64).min + 1] * many
    return graph.op("Slice", x, *map(graph.integers, (start, end, axes, [-1] * many)))


def _pad(site: Site, x: str, value: str) -> str:
    lows, highs, between = zip(*site.params["padding_config"], strict=True)
    if any(between):
        raise NotImplementedError("with padding between the entries")
    site.within_an_example(a for a, pair in enumerate(zip(lows, highs, strict=True)) if any(pair))
    return site.graph.op("Pad", x, site.graph.integers((*lows, *highs)), value)


def _reduce(kind: str) -> Callable[..., str]:
    def make(site: Site, x: str) -> str:
        if not site.params["axes"]:  # which means all of them in ONNX
            return x
        site.within_an_example(site.params["axes"])
        axes = site.graph.integers(site.params["axes"])
        return site.graph.op(kind, x, axes, keepdims=0)

    return make


def _reduce_logical(kind: str) -> Callable[..., str]:
    def make(site: Site, x: str) -> str:
        types, graph = peer("onnx").TensorProto, site.graph
        found = _reduce(kind)(site, graph.op("Cast", x, to=types.INT32))
        return graph.op("Cast", found, to=types.BOOL)

    return make


def _arg(kind: str) -> Callable[..., str]:
    def make(site: Site, x: str) -> str:
        site.within_an_example(site.params["axes"])
        if site.operands[0].dtype == bool:
            x = site.graph.op("Cast", x, to=peer("onnx").TensorProto.INT32)
        found = site.graph.op(kind, x, axis=site.params["axes"][0], keepdims=0)
        helper = peer("onnx").helper
        to = helper.np_dtype_to_tensor_dtype(site.result.dtype)
        return site.graph.op("Cast", found, to=to)

    return make


def _cumsum(site: Site, x: str) -> str:
    site.within_an_example([site.params["axis"]])
    axis = site.graph.constant(np.asarray(site.params["axis"], np.int64))
    return site.graph.op("CumSum", x, axis, reverse=int(site.params["reverse"]))


def _dot(site: Site, a: str, b: str) -> str:
    (sum_a, sum_b), (batch_a, batch_b) = site.params["dimension_numbers"]
    site.within_an_example(sum_a)
    rank_a, rank_b = (operand.ndim for operand in site.operands)
    if not batch_a and tuple(sum_a) == (rank_a - 1,) and tuple(sum_b) == (0,) and rank_b == 2:
        return site.graph.op("MatMul", a, b)
    letters = iter(string.ascii_lowercase)
    axes_a, axes_b = [next(letters) for _ in range(rank_a)], [next(letters) for _ in range(rank_b)]
    for i, j in zip((*sum_a, *batch_a), (*sum_b, *batch_b), strict=True):
        axes_b[j] = axes_a[i]
    out = [axes_a[i] for i in batch_a]
    out += [x for i, x in enumerate(axes_a) if i not in (*sum_a, *batch_a)]
    out += [x for j, x in enumerate(axes_b) if j not in (*sum_b, *batch_b)]
    equation = f"{''.join(axes_a)},{''.join(axes_b)}->{''.join(out)}"
    return site.graph.op("Einsum", a, b, equation=equation)


def _top_k(site: Site, x: str) -> list[str]:
    values, places = _sorted(site, x, site.params["k"], site.params["axis"], largest=1)
    return [values, site.graph.op("Cast", places, to=peer("onnx").TensorProto.INT32)]


def _sort(site: Site, x: str, *others: str) -> list[str]:
    if site.params["num_keys"] != 1:
        raise NotImplementedError("by several keys")
    axis = site.params["dimension"]
    values, places = _sorted(site, x, site.result.shape[axis], axis, largest=0)
    op = site.graph.op
    return [values, *(op("GatherElements", other, places, axis=axis) for other in others)]


def _sorted(site: Site, x: str, k: int, axis: int, largest: int) -> list[str]:
    """The k largest or smallest along an axis, and their places."""
    site.within_an_example([axis])
    return site.graph.ops("TopK", 2, x, site.graph.integers([k]), axis=axis, largest=largest)


def _convolve(site: Site, x: str, kernel: str) -> str:
    params, graph = site.params, site.graph
    if params["batch_group_count"] != 1 or {*params["lhs_dilation"]} != {1}:
        raise NotImplementedError("transposed, or with groups of the batch")
    numbers = params["dimension_numbers"]
    lows, highs = zip(*params["padding"], strict=True)
    y = graph.op(
        "Conv",
        graph.op("Transpose", x, perm=numbers.lhs_spec),
        graph.op("Transpose", kernel, perm=numbers.rhs_spec),
        pads=(*lows, *highs),
        strides=params["window_strides"],
        dilations=params["rhs_dilation"],
        group=params["feature_group_count"],
    )
    return graph.op("Transpose", y, perm=np.argsort(numbers.out_spec).tolist())


_SAME = """
    abs Abs, acos Acos, acosh Acosh, add Add, asin Asin, asinh Asinh, atan Atan, atanh Atanh,
    ceil Ceil, copy Identity, cos Cos, cosh Cosh, div Div, eq Equal, erf Erf, exp Exp, floor
    Floor, ge GreaterOrEqual, gt Greater, le LessOrEqual, log Log, logistic Sigmoid, lt Less,
    mul Mul, neg Neg, pow Pow, sign Sign, sin Sin, sinh Sinh, sqrt Sqrt,
    stop_gradient Identity, sub Sub, tan Tan, tanh Tanh
"""

PRIMITIVES: dict[str, Callable[..., str | list[str]]] = {
    **{name: _same(kind) for name, kind in map(str.split, _SAME.split(","))},
    "max": _extreme("Max", "Or"),
    "min": _extreme("Min", "And"),
    "and": _logical("And"),
    "or": _logical("Or"),
    "xor": _logical("Xor"),
    "not": _logical("Not"),
    "ne": _chain("Equal", "Not"),
    "rsqrt": _chain("Sqrt", "Reciprocal"),
    **ELEMENTWISE,
    "convert_element_type": _cast,
    "select_n": _select,
    "broadcast_in_dim": _broadcast,
    "iota": _iota,
    "reshape": lambda site, x: site.graph.op("Reshape", x, site.shape(site.params["new_sizes"])),
    "squeeze": lambda site, x: site.graph.op(
        "Squeeze", x, site.graph.integers(site.params["dimensions"])
    ),
    "expand_dims": lambda site, x: site.graph.op(
        "Unsqueeze", x, site.graph.integers(site.params["dimensions"])
    ),
    "transpose": lambda site, x: site.graph.op("Transpose", x, perm=site.params["permutation"]),
    "concatenate": lambda site, *xs: site.graph.op("Concat", *xs, axis=site.params["dimension"]),
    "stack": _stack,
    "tile": _tile,
    "slice": _slice,
    "split": _split,
    "rev": _rev,
    "pad": _pad,
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_prod": _reduce("ReduceProd"),
    "reduce_and": _reduce_logical("ReduceMin"),
    "reduce_or": _reduce_logical("ReduceMax"),
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "cumsum": _cumsum,
    "top_k": _top_k,
    "sort": _sort,
    "optimization_barrier": lambda site, *xs: [site.graph.op("Identity", x) for x in xs],
    "dot_general": _dot,
    "conv_general_dilated": _convolve,
}
"""Each primitive by its name. A step that uses another one cannot be exported."""


def primitive(name: str, site: Site, operands: list[Value]) -> str | list[str]:
    """The results of a primitive for these operands.

    Raises:
      KeyError: it is not in the tables.
      NotImplementedError: with these arguments it has no operator; the message says which.
    """
    if name in PLACES:
        return PLACES[name](site, *operands)
    return PRIMITIVES[name](site, *map(site.graph.tensor, operands))
