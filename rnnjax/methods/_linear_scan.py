"""The linear recurrence h_t = a_t ∘ h_{t-1} + b_t as one operation that JAX can transform.

Three primitives make it so. Derivatives of every order consist of them; no loop is differentiated.

    scan:  h_t = a_t ∘ h_{t-1} + b_t                                   of a, b and h_0
    push:  ḣ_t = a_t ∘ ḣ_{t-1} + (ȧ_t ∘ h_{t-1} + ḃ_t)                 of ȧ, ḃ and ḣ_0, given a, h
    pull:  g_t = h̄_t + a_{t+1}ᵀ ∘ g_{t+1},   b̄_t = g_t,   ā_t = g_t h_{t-1}ᵀ,   h̄_0 = a_1ᵀ ∘ g_1

h̄_t is ∂C/∂h_t but for what comes through the later states, which the recurrence of g adds. push is
the derivative of scan and pull the transpose of push: one scan backwards in time. Nothing is
conjugated for complex numbers, as everywhere in JAX.

There is one batch axis. Where the product ∘ is diagonal, a and b are [T, B, F] and h is [B, F];
where it is one of matrices, a is [T, B, K, K], b [T, B, K, V] and h [B, K, V]. `begins` is [T, B]
bool, or [0, B] where there are none: these steps read zero for h_{t-1}, whatever it is.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

from rnnjax._linear_map import tangents_by
from rnnjax._types import Array
from rnnjax.methods._batching import merge, split
from rnnjax.methods._linear_calls import (
    Product,
    cut,
    has_kernel,
    kernel_pull,
    kernel_scan,
    portable_scan,
    times,
)
from rnnjax.methods._lowering import portable_elsewhere
from rnnjax.running import vary_along, varying_axes

Static = Any  # the keywords of a primitive: product, reverse and, for pull, coefficients


def linear_scan(
    a: Array, b: Array, h: Array, begins: Array | None, *, product: Product, reverse: bool
) -> tuple[Array, Array]:
    """All states h_t [T, B, ...], and the last one [B, ...].

    Args:
      a, b, h, begins: as above, a and b in the dtype of h. None for begins: no step is one.
      product: "diagonal" or "matrix".
      reverse: run from t = T down to 1, so that h_{t-1} is the state of the step that ran before.
    """
    if begins is None:
        begins = jnp.zeros((0, h.shape[0]), bool)
    hs, last = _bind(_scan, a, b, h, begins, product=product, reverse=reverse)
    return hs, last


def _run_scan(
    a: Array, b: Array, h: Array, begins: Array, *, product: Product, reverse: bool
) -> list[Array]:
    run = partial(portable_scan, product, reverse)
    if has_kernel(product, b):
        run = portable_elsewhere(partial(kernel_scan, reverse=reverse), run)
    hs = run(a, b, h, begins)
    return [hs, hs[0 if reverse else -1] if hs.shape[0] else h]


def _run_push(
    a: Array, hs: Array, h: Array, begins: Array, *tangents: Array, product: Product, reverse: bool
) -> list[Array]:
    da, db, dh = tangents
    db = db + times(product, da, _before(hs, h, begins, reverse))
    return _bind(_scan, a, db, dh, begins, product=product, reverse=reverse)


def _run_pull(*operands: Array, product: Product, reverse: bool, coefficients: bool) -> list[Array]:
    run = partial(_pull_by_scan, product, reverse)
    if has_kernel(product, operands[2]):
        run = portable_elsewhere(partial(kernel_pull, reverse=reverse), run)
    return run(*operands)


def _pull_by_scan(
    product: Product,
    reverse: bool,
    a: Array,
    begins: Array,
    hs_ct: Array,
    last_ct: Array,
    *states: Array,
) -> list[Array]:
    """pull by scan, in the other direction: the a_t moved by one step, with 1 for the last."""
    diagonal = product == "diagonal"
    a = a if diagonal else a.swapaxes(-1, -2)
    unit = jnp.ones((), a.dtype) if diagonal else jnp.eye(a.shape[-1], dtype=a.dtype)
    unit = unit.reshape((1,) * (a.ndim - 1 - unit.ndim) + unit.shape)
    after = shifted(a, jnp.broadcast_to(unit, a.shape[1:]), not reverse)
    begins_after = begins
    if begins.size:
        begins_after = shifted(begins, jnp.zeros(begins.shape[1:], bool), not reverse)
    static = {"product": product, "reverse": not reverse}
    g, h_ct = _bind(_scan, after, hs_ct, last_ct, begins_after, **static)
    if a.shape[0]:
        first = -1 if reverse else 0
        h_ct = times(product, a[first], g[first])
        h_ct = cut(h_ct, begins[first]) if begins.size else h_ct
    if not states:
        return [g, h_ct]
    hs, h = states
    before = _before(hs, h, begins, reverse)
    a_ct = g * before if diagonal else times(product, g, before.swapaxes(-1, -2))
    return [a_ct, g, h_ct]


def shifted(xs: Array, x: Array, reverse: bool) -> Array:
    """x and then all of xs but its last, in the order of the loop."""
    parts = (xs[1:], x[None]) if reverse else (x[None], xs[:-1])
    return jnp.concatenate(parts)[: xs.shape[0]]


def _before(hs: Array, h: Array, begins: Array, reverse: bool) -> Array:
    """h_{t-1}, as each step of the loop reads it."""
    return cut(shifted(hs, h, reverse), begins)


def _bind(primitive: Any, *operands: Array, **static: Static) -> list[Array]:
    operands = vary_along(varying_axes(operands), operands)
    # In sight of JAX, which looks in there for what must know its devices to be compiled.
    body = jax.make_jaxpr(partial(_RUN[primitive], **static))(*operands)
    return primitive.bind(*operands, body=body, **static)


def _primitive(name: str, run: Callable[..., list[Array]]) -> Any:
    """A primitive that runs `run`."""
    primitive: Any = Primitive(f"rnnjax_linear_{name}")
    primitive.multiple_results = True

    @partial(jax.jit, static_argnums=0)
    def compiled(static: tuple[tuple[str, Static], ...], *operands: Array) -> list[Array]:
        return run(*operands, **dict(static))

    def lower(ctx: Any, *values: Any, body: ClosedJaxpr, **_: Static) -> Any:
        return mlir.lower_fun(jaxpr_as_fun(body), multiple_results=True)(ctx, *values)

    primitive.def_impl(lambda *xs, body, **static: compiled(tuple(sorted(static.items())), *xs))
    primitive.def_abstract_eval(lambda *_, body, **__: body.out_avals)
    mlir.register_lowering(primitive, lower)
    return primitive


_scan = _primitive("scan", _run_scan)
_push = _primitive("push", _run_push)
_pull = _primitive("pull", _run_pull)
_RUN: dict[Any, Callable[..., list[Array]]] = {_scan: _run_scan, _push: _run_push, _pull: _run_pull}


def _scan_jvp(primals: Any, tangents: Any, *, body: Any, **static: Static) -> Any:
    del body
    a, _, h, begins = primals
    da, db, dh = tangents[:3]
    hs, last = _bind(_scan, *primals, **static)
    db, dh = map(ad.instantiate_zeros, (db, dh))
    if isinstance(da, ad.Zero):
        return [hs, last], _bind(_scan, a, db, dh, begins, **static)
    return [hs, last], _bind(_push, a, hs, h, begins, da, db, dh, **static)


def _scan_transpose(
    cts: Any, a: Array, b: Any, h: Any, begins: Array, *, body: Any, **static: Static
) -> Any:
    del body
    cts = map(ad.instantiate_zeros, cts)
    b_ct, h_ct = _bind(_pull, a, begins, *cts, coefficients=False, **static)
    return [None, _if_asked(b, b_ct), _if_asked(h, h_ct), None]


def _push_transpose(
    cts: Any,
    a: Array,
    hs: Array,
    h: Array,
    begins: Array,
    *linear: Any,
    body: Any,
    **static: Static,
) -> Any:
    del body
    cts = map(ad.instantiate_zeros, cts)
    pulled = _bind(_pull, a, begins, *cts, hs, h, coefficients=True, **static)
    return [None] * 4 + [*map(_if_asked, linear, pulled)]


def _pull_transpose(
    cts: Any,
    a: Array,
    begins: Array,
    hs_ct: Any,
    last_ct: Any,
    *states: Array,
    body: Any,
    coefficients: bool,
    **static: Static,
) -> Any:
    del body
    cts = [*map(ad.instantiate_zeros, cts)]
    if coefficients:
        out = _bind(_push, a, *states, begins, *cts, **static)
    else:
        out = _bind(_scan, a, *cts, begins, **static)
    return [None, None, *map(_if_asked, (hs_ct, last_ct), out), *[None for _ in states]]


def _if_asked(operand: Any, ct: Array) -> Array | None:
    return ct if ad.is_undefined_primal(operand) else None


def _jvp_by(primitive: Any, run: Callable[..., list[Array]]) -> Callable[..., Any]:
    """The derivative of push and pull in all that they read: that of what they are made of."""

    def jvp(primals: Any, tangents: Any, *, body: Any, **static: Static) -> Any:
        out = primitive.bind(*primals, body=body, **static)
        return out, tangents_by(partial(run, **static), primals, tangents, out)

    return jvp


def _pull_by_parts(*operands: Array, coefficients: bool, **static: Static) -> list[Array]:
    return _pull_by_scan(static["product"], static["reverse"], *operands)


ad.primitive_jvps[_scan] = _scan_jvp
ad.primitive_jvps[_push] = _jvp_by(_push, _run_push)
ad.primitive_jvps[_pull] = _jvp_by(_pull, _pull_by_parts)
ad.primitive_transposes[_scan] = _scan_transpose
ad.primitive_transposes[_push] = _push_transpose
ad.primitive_transposes[_pull] = _pull_transpose


def _batched(primitive: Any, axes: tuple[int, ...], out_axes: tuple[int, ...]) -> None:
    """Define what `vmap` does: the mapped axis becomes part of the batch."""

    def batch(operands: Any, mapped: Any, *, body: Any, **static: Static) -> Any:
        del body
        size = next(x.shape[d] for x, d in zip(operands, mapped, strict=True) if d is not None)
        ins, outs = axes[: len(operands)], out_axes
        if not static.get("coefficients", True):
            outs = out_axes[1:]
        leading = [
            jnp.broadcast_to(x, (size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)
            for x, d in zip(operands, mapped, strict=True)
        ]
        beside = tuple(jnp.moveaxis(x, 0, axis) for x, axis in zip(leading, ins, strict=True))
        sizes = beside[0].shape[1:3]  # of the mapped axis and of the batch
        out = split(outs, tuple(_bind(primitive, *merge(ins, beside, 2), **static)), sizes)
        return [*out], [*outs]

    batching.primitive_batchers[primitive] = batch


_batched(_scan, (1, 1, 0, 1), (1, 0))
_batched(_push, (1, 1, 0, 1, 1, 1, 0), (1, 0))
_batched(_pull, (1, 1, 1, 0, 1, 0), (1, 1, 0))
