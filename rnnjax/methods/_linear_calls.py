"""Who runs a linear recurrence: a compiled kernel, `lax.scan` or `lax.associative_scan`.

The arrays are those of `_linear_scan`. Measured in docs/performance.md: on a CPU the kernel is the
fastest, then `lax.scan`; `lax.associative_scan` and scans of chunks side by side do two to three
times the work and lose to both. On a GPU each step of a loop is a launch, so the depth counts: for
numbers, chunks of 16 steps, all of one level in one launch each way, were faster than
`lax.associative_scan` in every shape, in a fraction of its memory.
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp

from rnnjax._types import Array
from rnnjax.methods._native_library import why_not
from rnnjax.methods._partitioning import along
from rnnjax.running import beside_features, vary_along, varying_axes

Product = Literal["diagonal", "matrix"]

_CHUNK = 16  # of 8, 16, 32 and 64 the fastest; 64 takes a minute to compile
_COMPILED = frozenset(map(jnp.dtype, ("float32", "float64", "complex64", "complex128")))


def times(product: Product, a: Array, h: Array) -> Array:
    """a ∘ h, whatever axes come before the features, in all of its precision: errors add up."""
    if product == "diagonal":
        return a * h
    return jnp.einsum("...ij,...jv->...iv", a, h, precision=jax.lax.Precision.HIGHEST)


def cut(x: Array, begins: Array) -> Array:
    """Zeros where an episode begins; begins has the leading axes of x, or is empty."""
    if begins.ndim and not begins.size:
        return x
    return jnp.where(beside_features(begins, x), jnp.zeros_like(x), x)


def has_kernel(product: Product, b: Array) -> bool:
    """Whether a compiled kernel runs this recurrence here."""
    return product == "diagonal" and b.dtype in _COMPILED and b.size > 0 and why_not() is None


def kernel_scan(a: Array, b: Array, h: Array, begins: Array, reverse: bool) -> Array:
    """h_t [T, B, F] by the compiled kernel."""

    def call(a: Array, b: Array, h: Array, begins: Array) -> Array:
        made = jax.ffi.ffi_call("rnnjax_linear_forward", _like(b))
        operands = (a, b, h, begins)
        return vary_along(varying_axes(operands), made(*operands, reverse=reverse))

    return along(call, (1, 1, 0, 1), 1)(a, b, h, begins)


def kernel_pull(
    a: Array, begins: Array, hs_ct: Array, last_ct: Array, *states: Array, reverse: bool
) -> list[Array]:
    """∂C/∂(a, b, h_0), without a if there are no states hs and h_0, by the compiled kernel."""

    def call(
        a: Array, begins: Array, hs_ct: Array, last_ct: Array, *states: Array
    ) -> tuple[Array, ...]:
        hs, h = states or (jnp.zeros(0, a.dtype), jnp.zeros(0, a.dtype))
        a_ct = _like(a) if states else jax.ShapeDtypeStruct((0,), a.dtype)
        outputs = (a_ct, _like(hs_ct), _like(last_ct))
        made = jax.ffi.ffi_call("rnnjax_linear_backward", outputs)
        operands = (a, hs, h, begins, hs_ct, last_ct)
        a_ct, b_ct, h_ct = vary_along(varying_axes(operands), made(*operands, reverse=reverse))
        return (a_ct, b_ct, h_ct) if states else (b_ct, h_ct)

    axes, out_axes = (1, 1, 1, 0), (1, 0)
    if states:
        axes, out_axes = (*axes, 1, 0), (1, *out_axes)
    return list(along(call, axes, out_axes)(a, begins, hs_ct, last_ct, *states))


def portable_scan(
    product: Product, reverse: bool, a: Array, b: Array, h: Array, begins: Array
) -> Array:
    """h_t [T, B, ...] by XLA's own loops."""
    if b.size == 0:
        return b
    if jax.default_backend() == "cpu":
        return _loop(product, reverse, a, b, h, begins)
    run = _tree if product == "matrix" else _in_chunks
    return run(product, reverse, a, b, h, begins)


def _loop(product: Product, reverse: bool, a: Array, b: Array, h: Array, begins: Array) -> Array:
    def body(h: Array, step: tuple[Array, ...]) -> tuple[Array, Array]:
        a_t, b_t, *flags = step
        h = times(product, a_t, cut(h, *flags) if flags else h) + b_t
        return h, h

    steps = (a, b, begins) if begins.size else (a, b)
    return jax.lax.scan(body, h, steps, reverse=reverse)[1]


def _tree(product: Product, reverse: bool, a: Array, b: Array, h: Array, begins: Array) -> Array:
    """In a depth of log₂ T. An element is the affine map of several steps in a row.

    A map that an episode begins in forgets what came before, NaN and Inf too, which a product with
    a = 0 would not.
    """
    first = -1 if reverse else 0
    moved = times(product, a[first], h)
    b = jnp.asarray(b).at[first].add(cut(moved, begins[first]) if begins.size else moved)

    def join(earlier: tuple[Array, ...], later: tuple[Array, ...]) -> tuple[Array, ...]:
        (a_1, b_1, *begun), (a_2, b_2, *begins) = earlier, later
        moved = times(product, a_2, b_1)
        both = [begun[0] | begins[0]] if begins else []
        return times(product, a_2, a_1), (cut(moved, *begins) if begins else moved) + b_2, *both

    elements = (a, b, begins) if begins.size else (a, b)
    return jax.lax.associative_scan(join, elements, reverse=reverse)[1]


def _in_chunks(
    product: Product, reverse: bool, a: Array, b: Array, h: Array, begins: Array
) -> Array:
    """In chunks of _CHUNK steps side by side: the affine map of each first, then, from the states
    that these maps give in the same way, the states within.

    Both passes are a fixed number of operations on all chunks, which XLA fuses.
    """
    if reverse:
        a, b, begins = (jnp.flip(x, 0) for x in (a, b, begins))
        return jnp.flip(_in_chunks(product, False, a, b, h, begins), 0)
    steps = b.shape[0]
    flags = begins if begins.size else None
    if steps <= _CHUNK:
        parts = ([x[t] for t in range(steps)] for x in (a, b, flags) if x is not None)
        return jnp.stack(_one_by_one(h, *parts))
    number = -(-steps // _CHUNK)
    parts = [
        _cut_in(number, x, value) for x, value in ((a, 1), (b, 0), (flags, False)) if x is not None
    ]
    whole = [
        math.prod(parts[0][1:], start=parts[0][0]),
        _one_by_one(jnp.zeros_like(parts[1][0]), *parts)[-1],
        functools.reduce(jnp.logical_or, *parts[2:]) if begins.size else begins,
    ]
    ends = _in_chunks(product, False, whole[0], whole[1], h, whole[2])
    starts = jnp.concatenate([h[None], ends[:-1]])
    hs = jnp.stack(_one_by_one(starts, *parts), 1)
    return hs.reshape(number * _CHUNK, *h.shape)[:steps]


def _cut_in(number: int, x: Array, value: float) -> list[Array]:
    """[number, ...] of each step of a chunk; `value` for the steps that the last one lacks."""
    rest = number * _CHUNK - x.shape[0]
    if rest:
        x = jnp.concatenate([x, jnp.full((rest, *x.shape[1:]), value, x.dtype)])
    x = x.reshape(number, _CHUNK, *x.shape[1:])
    return [x[:, t] for t in range(_CHUNK)]


def _one_by_one(h: Array, *parts: list[Array]) -> list[Array]:
    """The states after the steps a_t, b_t and, where there are any, begins_t."""
    hs: list[Array] = []
    for a_t, b_t, *begins in zip(*parts, strict=True):
        moved = a_t * h
        h = (cut(moved, *begins) if begins else moved) + b_t
        hs.append(h)
    return hs


def _like(x: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)
