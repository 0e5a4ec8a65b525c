"""Params of a cell: whether they are its own, by the shapes that its structure states; their dtype;
how many they are."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import (
    array_of,
    check_cell,
    described,
    in_brackets,
    is_array,
    is_feature_shape,
    is_inexact,
    is_readable,
)
from rnnjax._dtypes import promoted
from rnnjax._types import Array, Cell, Inputs, Params, PyTree, known


def check_params(cell: Cell, params: Params) -> Params:
    """`params`, if they are those of the cell as far as its structure says; a dict of the right
    fields becomes the params that it holds.

    Raises:
      TypeError: another type, or weights that are no floating-point arrays or not all of one dtype.
      ValueError: other fields or shapes.
    """
    return checked_params(check_cell(cell), known(cell).params, params)


def checked_params(cell: Cell, shapes: Any, params: Params) -> Params:
    """`check_params`, for the shapes that `known(cell).params` are."""
    if _fit(shapes, params):  # nearly always, and fast: op-by-op steps ask every time
        return params
    return _diagnosed(cell, shapes, params, "params")


def _fit(shapes: Any, params: Any) -> bool:
    if shapes is None:
        leaves = jax.tree.leaves(params)
        return all(_as_held(leaf) is leaf and _may_be_params(leaf) for leaf in leaves)
    if not hasattr(shapes, "_fields"):
        return (
            type(params) is tuple
            and len(params) == len(shapes)
            and all(_fit(s, p) for s, p in zip(shapes, params, strict=True))
        )
    if type(params) is not type(shapes):
        return False
    sizes: dict[str, int] = {}
    dtypes = set()
    for shape, leaf in zip(shapes, params, strict=True):
        if shape is None or leaf is None:
            if shape is not leaf:
                return False
            continue
        got = getattr(leaf, "shape", None)
        if got != shape and not _same_sizes(got, shape, sizes):
            return False
        dtypes.add(leaf.dtype)
    return len(dtypes) == 1 and all(_is_weight(dtype) and _is_held(dtype) for dtype in dtypes)


def _same_sizes(got: Any, shape: tuple[Any, ...], sizes: dict[str, int]) -> bool:
    """Whether a shape is the stated one, with every named size the same each time it comes."""
    if not isinstance(got, tuple) or len(got) != len(shape):
        return False
    return all(
        size == (sizes.setdefault(want, size) if isinstance(want, str) else want)
        for size, want in zip(got, shape, strict=True)
    )


@functools.cache
def _is_weight(dtype: Any) -> bool:
    return hasattr(dtype, "kind") and jnp.issubdtype(dtype, jnp.inexact)


def _is_held(dtype: Any) -> bool:
    """Whether JAX keeps arrays in it: float64 only with jax_enable_x64."""
    return is_readable(dtype) and jax.dtypes.canonicalize_dtype(dtype) == dtype


def _may_be_params(x: Any) -> bool:
    return hasattr(x, "dtype") or isinstance(x, int | float | complex | np.generic)


def _as_held(x: Any) -> Any:
    """A NumPy array in the precision in which JAX keeps it; all else as it is."""
    if not isinstance(x, np.ndarray) or not is_array(x) or _is_held(x.dtype):
        return x
    x = array_of(x)
    return x.astype(jax.dtypes.canonicalize_dtype(x.dtype))


def _weights_of(leaves: Any) -> list[Any]:
    """Arrays as JAX keeps them; lists of numbers are arrays of the dtype of the others."""
    leaves = [_as_held(x) for x in leaves]
    dtypes = [x.dtype for x in leaves if is_array(x) and is_inexact(x)]

    def array(x: Any) -> Any:
        made = array_of(x)
        if made is not x and dtypes and np.can_cast(made.dtype, dtypes[0], "same_kind"):
            made = made.astype(dtypes[0])
        return _as_held(made)

    return [array(x) for x in leaves]


def _diagnosed(cell: Cell, shapes: Any, params: Any, name: str) -> Any:
    """Params that do not fit as they are, in the form that fits; or the error that says why not."""
    if shapes is None:
        for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
            if not _may_be_params(leaf):
                raise TypeError(
                    f"{name}{jax.tree_util.keystr(path)} is {described(leaf)}, expected arrays and "
                    "numbers alone: let the step close over the rest. The functions of an Equinox "
                    "module are split off by eqx.partition(module, eqx.is_array) and put back, in "
                    "the step, by eqx.combine"
                )
        return jax.tree.map(_as_held, params)
    if not hasattr(shapes, "_fields"):
        return _diagnosed_layers(cell, shapes, params, name)
    if isinstance(params, Mapping) and set(params) == set(shapes._fields):
        params = type(shapes)(**params)
    if type(params) is not type(shapes):
        raise TypeError(
            f"{name} must be {_signature(shapes)} for {cell!r}, as cell.init(key, inputs) returns "
            f"them, got {described(params)}"
        )
    params = type(shapes)(*_weights_of(params))
    sizes: dict[str, int] = {}
    for field, shape, leaf in zip(shapes._fields, shapes, params, strict=True):
        _check_leaf(cell, f"{name}.{field}", shape, leaf, sizes)
    dtypes = {field: leaf.dtype for field, leaf in params._asdict().items() if leaf is not None}
    if len(set(dtypes.values())) > 1:
        each = ", ".join(f"{field} is {dtype}" for field, dtype in dtypes.items())
        raise TypeError(
            f"{name} must have one dtype for all of a cell's weights, but {each}: cast them, as in "
            "jax.tree.map(lambda w: w.astype(dtype), params)"
        )
    return params


def _diagnosed_layers(cell: Cell, shapes: Any, params: Any, name: str) -> Any:
    if not isinstance(params, tuple | list) or hasattr(params, "_fields"):
        raise TypeError(
            f"{name} must be a tuple with the params of each of the {len(shapes)} cells of "
            f"{cell!r}, got {described(params)}"
        )
    if len(params) != len(shapes):
        raise ValueError(
            f"{name} has {len(params)} entries, expected {len(shapes)}: one a cell of {cell!r}"
        )
    cells = cell.structure.layers or (cell,) * len(shapes)
    each = enumerate(zip(cells, shapes, params, strict=True))
    return tuple(_diagnosed(c, s, p, f"{name}[{i}]") for i, (c, s, p) in each)


def _check_leaf(cell: Cell, name: str, shape: Any, leaf: Any, sizes: dict[str, int]) -> None:
    if shape is None or leaf is None:
        if shape is not leaf:
            want = "None" if shape is None else f"an array {in_brackets(shape)}"
            raise ValueError(
                f"{name} must be {want} for {cell!r}, got {described(leaf)}: these are params of "
                "another variant of the cell"
            )
        return
    if not is_array(leaf) or not _is_weight(leaf.dtype):
        raise TypeError(
            f"{name} must be a floating-point array {in_brackets(shape)}, got {described(leaf)}"
        )
    if _same_sizes(leaf.shape, shape, sizes):
        return
    want = tuple(sizes.get(size, size) for size in shape)
    hint = ""
    if len(shape) > 1 and _same_sizes(leaf.shape[::-1], shape, dict(sizes)):
        hint = ": it is transposed"
    elif _same_sizes(leaf.shape[-len(shape) :], shape, dict(sizes)):
        hint = ": params of many cells are mapped over with jax.vmap"
    raise ValueError(
        f"{name} has shape {tuple(leaf.shape)}, expected {in_brackets(want)} for {cell!r}{hint}"
    )


def _signature(shapes: Any) -> str:
    fields = (
        f"{field} {'None' if shape is None else in_brackets(shape)}"
        for field, shape in shapes._asdict().items()
    )
    return f"{type(shapes).__name__}({', '.join(fields)})"


class WithRead(NamedTuple):
    """The params of a cell, and the arrays that its step reads besides."""

    params: Params
    read: tuple[Array, ...]


def input_dtypes(params: Params, xs: PyTree) -> PyTree:
    """The dtype in which a cell reads each leaf of xs: real and complex ones in the precision of
    the params, others as they are.

    Raises:
      TypeError: complex inputs for a cell without complex params.
    """
    params = params.params if isinstance(params, WithRead) else params
    floats = [leaf for leaf in jax.tree.leaves(params) if is_inexact(leaf)]
    if not floats:
        return jax.tree.map(jnp.result_type, xs)
    widest = promoted(*floats)
    real = jnp.finfo(widest).dtype

    def dtype(x: Any) -> jnp.dtype:
        own = jnp.result_type(x)
        if jnp.issubdtype(own, jnp.floating):
            return real
        if jnp.issubdtype(own, jnp.complexfloating):
            if not jnp.issubdtype(widest, jnp.complexfloating):
                raise TypeError(
                    f"xs has dtype {own}: the weights of this cell are real, and read "
                    "floating-point features. Pass real and imaginary parts side by side"
                )
            return widest
        return own

    return jax.tree.map(dtype, xs)


def in_dtype_of(params: Params, x: PyTree) -> PyTree:
    """x in the dtypes in which a cell with these params reads it."""
    weights, leaves = jax.tree.leaves(params), jax.tree.leaves(x)
    own = {getattr(w, "dtype", None) for w in weights}
    if len(own) == 1 and all(getattr(leaf, "dtype", None) in own for leaf in leaves):
        return x  # nearly always, and fast: op-by-op steps ask every time
    x = jax.tree.map(array_of, x)
    return jax.tree.map(
        lambda leaf, dtype: leaf if jnp.result_type(leaf) == dtype else jnp.asarray(leaf, dtype),
        x,
        input_dtypes(params, x),
    )


def num_params(params: Params) -> int:
    """The number of trainable real numbers in params: a complex one counts as two.

    Args:
      params: any pytree of arrays, or of their shapes as
        `jax.eval_shape(lambda key: cell.init(key, 3), key)` gives them. Integers, booleans and
        PRNG keys are not counted.

    Example:
      >>> import jax, rnnjax
      >>> rnnjax.num_params(rnnjax.lstm(4).init(jax.random.key(0), 3))  # 4 gates of (3 + 4 + 1) · 4
      128
    """

    def count(leaf: Any) -> int:
        dtype = jnp.result_type(array_of(leaf))
        if not jnp.issubdtype(dtype, jnp.inexact):
            return 0
        return math.prod(jnp.shape(leaf)) * (2 if jnp.issubdtype(dtype, jnp.complexfloating) else 1)

    return sum(map(count, jax.tree.leaves(params)))


def features_after(
    outputs: Callable[[Params, PyTree], PyTree], params: Params, inputs: Inputs
) -> Inputs:
    """The features of `outputs(params, x_t)` for x_t of the features `inputs`, without a batch.

    A number alone among the inputs may be an index, which is what it is taken for where the
    function has no use for a real number.
    """
    floats = [leaf for leaf in jax.tree.leaves(params) if is_inexact(leaf)]
    dtype = promoted(*floats) if floats else jnp.result_type(float)
    real = jnp.zeros((), dtype).real.dtype

    def like(number: Any) -> PyTree:
        return jax.tree.map(
            lambda shape: jnp.zeros(shape, number if shape == () else real),
            inputs,
            is_leaf=is_feature_shape,
        )

    try:
        y_t = jax.eval_shape(lambda params: outputs(params, like(real)), params)
    except TypeError:
        if () not in jax.tree.leaves(inputs, is_leaf=is_feature_shape):
            raise
        y_t = jax.eval_shape(lambda params: outputs(params, like(int)), params)
    return jax.tree.map(lambda y: y.shape[0] if len(y.shape) == 1 else tuple(y.shape), y_t)
