"""Complex numbers, which ONNX's operators do not have, as pairs of real tensors."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import PyTree
from rnnjax.interop._onnx._fourier import fft
from rnnjax.interop._onnx._graph import Value
from rnnjax.interop._onnx._primitives import PRIMITIVES, primitive
from rnnjax.interop._onnx._site import Site


class Pair(NamedTuple):
    re: Any
    im: Any


def is_complex(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.complexfloating)


def apart(tree: PyTree) -> PyTree:
    """Every complex array of a tree as a pair of real ones, and every type of one likewise."""

    def leaf(x: Any) -> Any:
        if not is_complex(x):
            return x
        if isinstance(x, jax.ShapeDtypeStruct):
            return Pair(*[jax.ShapeDtypeStruct(x.shape, jnp.finfo(x.dtype).dtype)] * 2)
        return Pair(jnp.real(x), jnp.imag(x))

    return jax.tree.map(leaf, tree)


def together(tree: PyTree) -> PyTree:
    """Inverse of `apart`."""

    def leaf(x: Any) -> Any:
        return jax.lax.complex(*x) if isinstance(x, Pair) else x

    return jax.tree.map(leaf, tree, is_leaf=lambda x: isinstance(x, Pair))


def complex_equation(name: str, site: Site, operands: list[Value | Pair]) -> list[Value | Pair]:
    """The results of a primitive with a complex operand or result.

    Raises:
      KeyError: the primitive is not in the tables.
    """
    results = COMPLEX[name](_real(site), *map(_pair, operands, site.operands))
    return results if isinstance(results, list) else [results]


def _real(site: Site) -> Site:
    def real(aval: Any) -> Any:
        dtype = jnp.finfo(aval.dtype).dtype if is_complex(aval) else aval.dtype
        return jax.ShapeDtypeStruct(aval.shape, dtype)

    return site._replace(operands=[*map(real, site.operands)], result=real(site.result))


def _pair(value: Value | Pair, aval: Any) -> Value | Pair:
    """A known complex array as a pair; a real value as it is."""
    if isinstance(value, Pair | str) or not is_complex(aval):
        return value
    return Pair(np.real(value), np.imag(value))


def _part(name: str, site: Site, values: Any) -> str:
    return cast(str, primitive(name, site, list(values)))  # one result


def _both(name: str) -> Callable[..., Pair]:
    """A primitive that is linear with real factors: real and imaginary parts apart."""

    def make(site: Site, *operands: Any) -> Pair:
        parts = [[x[k] if isinstance(x, Pair) else x for x in operands] for k in (0, 1)]
        return Pair(*(_part(name, site, part) for part in parts))

    return make


def _bilinear(name: str) -> Callable[..., Pair]:
    def make(site: Site, a: Pair, b: Pair) -> Pair:
        product = {(i, j): _part(name, site, (a[i], b[j])) for i in (0, 1) for j in (0, 1)}
        op = site.graph.op
        return Pair(
            op("Sub", product[0, 0], product[1, 1]), op("Add", product[0, 1], product[1, 0])
        )

    return make


def _square_of_abs(site: Site, x: Pair) -> str:
    op = site.graph.op
    return op("Add", op("Mul", x.re, x.re), op("Mul", x.im, x.im))


def _div(site: Site, a: Pair, b: Pair) -> Pair:
    op = site.graph.op
    product = _bilinear("mul")(site, a, Pair(b.re, op("Neg", b.im)))
    square = _square_of_abs(site, b)
    return Pair(op("Div", product.re, square), op("Div", product.im, square))


def _exp(site: Site, x: Pair) -> Pair:
    op = site.graph.op
    size = op("Exp", x.re)
    return Pair(op("Mul", size, op("Cos", x.im)), op("Mul", size, op("Sin", x.im)))


def _convert(site: Site, x: Value | Pair) -> Value | Pair:
    if not isinstance(x, Pair):
        x = _part("convert_element_type", site, [x])
        return Pair(x, site.graph.op("Sub", x, x))
    return _both("convert_element_type")(site, x)


def _fft(site: Site, x: Any) -> Any:
    found = fft(site, x)
    return Pair(*found) if isinstance(found, tuple) else found


def _split(site: Site, x: Pair) -> list[Pair]:
    parts = [PRIMITIVES["split"](site, site.graph.tensor(part)) for part in x]
    return [Pair(re, im) for re, im in zip(*parts, strict=True)]


COMPLEX: dict[str, Callable[..., Any]] = {
    **{
        name: _both(name)
        for name in (
            "add", "sub", "neg", "copy", "reshape", "squeeze", "expand_dims", "transpose", "rev",
            "slice", "concatenate", "broadcast_in_dim", "select_n", "reduce_sum", "cumsum",
            "pad", "tile", "stack", "stop_gradient", "gather", "scatter", "scatter-add",
            "dynamic_slice", "dynamic_update_slice",
        )
    },
    **{name: _bilinear(name) for name in ("mul", "dot_general")},
    "complex": lambda site, re, im: Pair(re, im),
    "real": lambda site, x: x.re,
    "imag": lambda site, x: x.im,
    "conj": lambda site, x: Pair(x.re, site.graph.op("Neg", x.im)),
    "abs": lambda site, x: site.graph.op("Sqrt", _square_of_abs(site, x)),
    "exp": _exp,
    "fft": _fft,
    "div": _div,
    "square": lambda site, x: _bilinear("mul")(site, x, x),
    "convert_element_type": _convert,
    "split": _split,
}  # fmt: skip
"""Primitives of complex numbers, by name."""
