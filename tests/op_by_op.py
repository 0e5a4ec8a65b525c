"""Run JAX op by op, its common primitives by NumPy: nothing is compiled.

XLA takes some 20 ms to compile a primitive for a new shape, and a test on tiny arrays meets
hundreds of them; NumPy takes microseconds, and is a second opinion on the values. Primitives that
are not in the table, and dtypes that NumPy lacks, run as always.
"""

import contextlib
import functools
import string
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gather_by_numpy import gather
from jax.extend.core import primitives
from scipy import special

_KINDS = "biufc"  # bool, integers, floating and complex numbers: not bfloat16, not PRNG keys


@contextlib.contextmanager
def op_by_op() -> Iterator[None]:
    """Run all inside op by op, under `jax.disable_jit()` and by NumPy where it can."""
    usual = {primitive: primitive.impl for primitive in TABLE}
    eval_shape = jax.eval_shape
    try:
        for primitive, function in TABLE.items():
            primitive.def_impl(_by_numpy(function, usual[primitive]))
        jax.eval_shape = jax.disable_jit(False)(eval_shape)  # runs nothing, and uses JAX's caches
        with jax.disable_jit():
            yield
    finally:
        jax.eval_shape = eval_shape
        for primitive, impl in usual.items():
            primitive.def_impl(impl)


def _by_numpy(function: Callable[..., Any], usual: Callable[..., Any]) -> Callable[..., Any]:
    def impl(*operands: Any, **params: Any) -> Any:
        result = None
        if all(is_plain(_dtype(x)) for x in operands):
            with np.errstate(all="ignore"):
                result = function(*map(np.asarray, operands), **params)
        if result is None:
            return usual(*operands, **params)
        return [*map(_array, result)] if isinstance(result, list) else _array(result)

    return impl


def _dtype(x: Any) -> Any:
    return x.dtype if hasattr(x, "dtype") else jnp.result_type(x)


class _Array(np.ndarray):
    """A result of NumPy's that is used as a `jax.Array` is: nothing changes it in place."""

    @property
    def at(self) -> Any:
        return jax.device_put(np.asarray(self)).at

    @property
    def aval(self) -> Any:
        return jax.typeof(np.asarray(self))


def _method(name: str) -> Callable[..., Any]:
    return lambda self, *args, **options: getattr(jnp, name)(np.asarray(self), *args, **options)


_IN_PLACE = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul")
for _name in (*_IN_PLACE, "and", "or", "xor", "lshift", "rshift"):
    setattr(_Array, f"__i{_name}__", getattr(np.ndarray, f"__{_name}__"))
for _name in [
    "all",
    "any",
    "argmax",
    "argmin",
    "clip",
    "cumprod",
    "cumsum",
    "dot",
    "max",
    "mean",
    "min",
    "prod",
    "std",
    "sum",
    "var",
]:
    setattr(_Array, _name, _method(_name))  # to NumPy, where=None is where nothing is


def _array(result: Any) -> _Array:
    array = np.asarray(result).view(_Array)
    array.flags.writeable = False
    return array


def is_plain(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in _KINDS


def _broadcast_in_dim(x, *, shape, broadcast_dimensions, **_):
    aligned = [1] * len(shape)
    for axis, size in zip(broadcast_dimensions, x.shape, strict=True):
        aligned[axis] = size
    return np.broadcast_to(x.reshape(aligned), shape)


def _dot_general(a, b, *, dimension_numbers, **_):
    return np.einsum(_subscripts(a.ndim, b.ndim, dimension_numbers), a, b)


@functools.cache
def _subscripts(ndim_a, ndim_b, dimension_numbers):
    (summed_a, summed_b), (batch_a, batch_b) = dimension_numbers
    letters = iter(string.ascii_letters)
    axes_a, axes_b = ([next(letters) for _ in range(ndim)] for ndim in (ndim_a, ndim_b))
    for i, j in zip((*summed_a, *batch_a), (*summed_b, *batch_b), strict=True):
        axes_b[j] = axes_a[i]
    out = [axes_a[i] for i in batch_a]
    out += [letter for i, letter in enumerate(axes_a) if i not in (*summed_a, *batch_a)]
    out += [letter for i, letter in enumerate(axes_b) if i not in (*summed_b, *batch_b)]
    return f"{''.join(axes_a)},{''.join(axes_b)}->{''.join(out)}"


def _slice(x, *, start_indices, limit_indices, strides):
    return x[tuple(map(slice, start_indices, limit_indices, strides or (1,) * x.ndim))]


def _dynamic_slice(x, *starts, slice_sizes):
    pairs = zip(starts, x.shape, slice_sizes, strict=True)
    starts = [min(max(int(start), 0), full - size) for start, full, size in pairs]
    return x[tuple(slice(a, a + size) for a, size in zip(starts, slice_sizes, strict=True))]


def _dynamic_update_slice(x, update, *starts):
    pairs = zip(starts, x.shape, update.shape, strict=True)
    starts = [min(max(int(start), 0), full - size) for start, full, size in pairs]
    new = x.copy()
    new[tuple(slice(a, a + size) for a, size in zip(starts, update.shape, strict=True))] = update
    return new


def _pad(x, value, *, padding_config):
    if any(low < 0 or high < 0 or inner for low, high, inner in padding_config):
        return None
    return np.pad(x, [pair[:2] for pair in padding_config], constant_values=value)


def _iota(*sizes, dtype, shape, dimension, **_):
    line = np.arange(shape[dimension]).astype(dtype)
    return _broadcast_in_dim(line, shape=shape, broadcast_dimensions=(dimension,))


def _select_n(which, *cases):
    return np.where(which, cases[1], cases[0]) if which.dtype == bool else None


def _reshape(x, *, new_sizes, dimensions, **_):
    return (x if dimensions is None else x.transpose(dimensions)).reshape(new_sizes)


def _convert_element_type(x, *, new_dtype, **_):
    if not is_plain(new_dtype):
        return None
    return (x if np.dtype(new_dtype).kind == "c" else x.real).astype(new_dtype)


def _div(a, b):
    return a / b if a.dtype.kind in "fc" else None


def _sign(x):
    return np.sign(x) if x.dtype.kind == "f" else None


def _qr(x, *, full_matrices, pivoting, **_):
    if pivoting or x.ndim != 2 or not x.size:
        return None
    return [*np.linalg.qr(x, "complete" if full_matrices else "reduced")]


def _primitive(name: str) -> Any:
    homes = (jax.lax, jax.lax.linalg, primitives)
    return next(getattr(home, f"{name}_p") for home in homes if hasattr(home, f"{name}_p"))


def _elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *operands, **_: function(*operands)


_ELEMENTWISE = {
    "copy": lambda x: x,
    "stage": lambda x: x,
    "add": np.add,
    "add_jaxvals": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _div,
    "neg": np.negative,
    "max": np.maximum,
    "min": np.minimum,
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
    "abs": np.abs,
    "sign": _sign,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "real": np.real,
    "imag": np.imag,
    "conj": np.conj,
    "complex": lambda a, b: a + 1j * b,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "not": np.invert,
    "erf": lambda x: special.erf(x).astype(x.dtype),
    "erf_inv": lambda x: special.erfinv(x).astype(x.dtype),
    "nextafter": np.nextafter,
}
_OTHERS: dict[str, Callable[..., Any]] = {
    "integer_pow": lambda x, *, y: x**y if x.dtype.kind in "fc" else None,
    "convert_element_type": _convert_element_type,
    "broadcast_in_dim": _broadcast_in_dim,
    "dot_general": _dot_general,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "gather": gather,
    "qr": _qr,
    "split": lambda x, *, sizes, axis: np.split(x, np.cumsum(sizes)[:-1], axis),
    "pad": _pad,
    "iota": _iota,
    "select_n": _select_n,
    "reshape": _reshape,
    "concatenate": lambda *xs, dimension: np.concatenate(xs, dimension),
    "squeeze": lambda x, *, dimensions: x.squeeze(tuple(dimensions)),
    "transpose": lambda x, *, permutation: x.transpose(permutation),
    "rev": lambda x, *, dimensions: np.flip(x, dimensions),
    "reduce_sum": lambda x, *, axes, **_: x.sum(tuple(axes), dtype=x.dtype),
    "reduce_max": lambda x, *, axes, **_: x.max(tuple(axes)) if x.size else None,
    "reduce_min": lambda x, *, axes, **_: x.min(tuple(axes)) if x.size else None,
    "reduce_or": lambda x, *, axes, **_: x.any(tuple(axes)) if x.dtype == bool else None,
    "reduce_and": lambda x, *, axes, **_: x.all(tuple(axes)) if x.dtype == bool else None,
}
TABLE = {
    **{_primitive(name): _elementwise(function) for name, function in _ELEMENTWISE.items()},
    **{_primitive(name): function for name, function in _OTHERS.items()},
}
