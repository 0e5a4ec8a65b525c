"""A function whose every choice goes either way: what it computes depends on all that it may read.

Where a value decides which others are read, by `jnp.where`, an index, `lax.cond` or `jnp.maximum`,
a random mixture of all of them is read instead. Derivatives of it are zero only where those of the
function are zero for all integers, booleans and PRNG keys that it may be given.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from rnnjax._checks import is_inexact
from rnnjax._types import Array

_CHOICES = ("max", "min", "clamp")  # of one operand, entry by entry
_ORDERED = ("sort", "top_k", "cummax", "cummin", "reduce_max", "reduce_min")


def either_way(function: Callable[..., Array], *args: Any) -> Callable[..., Array]:
    """`function`, for arguments of the form of `args`."""
    closed = jax.make_jaxpr(function)(*args)

    def mixed(*args: Any) -> Array:
        values = jax.tree.leaves(args)
        mix = _Mix(np.random.default_rng(0))
        return mix.run(closed.jaxpr, closed.consts, values, [True] * len(values))[0][0]

    return mixed


class _Mix:
    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def weights(self, x: Any) -> Array:
        return jnp.asarray(self.rng.uniform(0.1, 0.9, x.shape), x.dtype)

    def sum(self, values: list[Any]) -> Array:
        return functools.reduce(jnp.add, [self.weights(x) * x for x in values])

    def along(self, axes: Any, x: Any) -> Array:
        """Its sum along axes, everywhere along them."""
        total = jnp.sum(self.weights(x) * x, tuple(axes), keepdims=True)
        return jnp.broadcast_to(total, x.shape)

    def run(
        self, jaxpr: Any, consts: Any, values: list[Any], varies: list[bool]
    ) -> tuple[list[Any], list[bool]]:
        """The outputs, and which of them are not constant."""
        known = dict(zip(jaxpr.constvars, [(c, False) for c in consts], strict=True))
        known.update(zip(jaxpr.invars, zip(values, varies, strict=True), strict=True))

        def read(v: Any) -> tuple[Any, bool]:
            return (_constant(v), False) if isinstance(v, Literal) else known[v]

        for eqn in jaxpr.eqns:
            given = [read(v) for v in eqn.invars]
            some = any(each for _, each in given)
            out = self.apply(eqn, [x for x, _ in given], [each for _, each in given])
            known.update(zip(eqn.outvars, [(x, some) for x in out], strict=True))
        found = [read(v) for v in jaxpr.outvars]
        return [x for x, _ in found], [each for _, each in found]

    def inner(self, closed: Any, values: list[Any], varies: list[bool]) -> list[Any]:
        return self.run(closed.jaxpr, closed.consts, values, varies)[0]

    def apply(self, eqn: Any, values: list[Any], varies: list[bool]) -> list[Any]:
        name, params = eqn.primitive.name, eqn.params
        shapes = [v.aval for v in eqn.outvars]
        if not any(varies) or not any(map(is_inexact, shapes)):
            return _bind(eqn, values)
        if name == "cond":
            branches = [self.inner(b, values[1:], varies[1:]) for b in params["branches"]]
            pairs = zip(*branches, strict=True)
            return [self.sum([*each]) if is_inexact(each[0]) else each[0] for each in pairs]
        if name == "scan":
            return self.scan(eqn, values, varies)
        if name in ("custom_jvp_call", "custom_vjp_call"):
            if any(not is_inexact(x) and v for x, v in zip(values, varies, strict=True)):
                return self.all(eqn, values)
            primal = self.inner(params["call_jaxpr"], values, varies)
            pairs = zip(_bind(eqn, values), primal, strict=True)
            return [a + b if is_inexact(a) else a for a, b in pairs]
        if "jaxpr" in params and name in ("jit", "pjit", "closed_call", "remat", "checkpoint"):
            inner = params["jaxpr"]
            if hasattr(inner, "consts"):
                return self.inner(inner, values, varies)
            return self.run(inner, [], values, varies)[0]
        if name == "select_n" and varies[0]:
            return [self.sum(values[1:])]
        if name in _CHOICES:
            return [self.sum([jnp.broadcast_to(x, shapes[0].shape) for x in values])]
        if name in ("gather", "dynamic_slice") and any(varies[1:]):
            return _bind(eqn, [self.along(_indexed(eqn), values[0]), *values[1:]])
        if name in ("scatter", "scatter-add") and varies[1]:
            placed = _bind(eqn, [jnp.zeros_like(values[0]), *values[1:]])[0]
            return [self.sum([values[0], self.along(_indexed(eqn), placed)])]
        if name == "dynamic_update_slice" and any(varies[2:]):
            placed = _bind(eqn, [jnp.zeros_like(values[0]), *values[1:]])[0]
            return [self.sum([values[0], self.along(range(placed.ndim), placed)])]
        if not any(map(is_inexact, values)):
            if name != "convert_element_type":
                return _bind(eqn, values)  # random bits as a number
            return [self.weights(jnp.zeros(shapes[0].shape, shapes[0].dtype))]
        whole = any(not is_inexact(x) and v for x, v in zip(values, varies, strict=True))
        return self.all(eqn, values) if whole or name in _ORDERED else _bind(eqn, values)

    def all(self, eqn: Any, values: list[Any]) -> list[Any]:
        """Outputs that depend on every entry of what is given."""
        sums = [jnp.sum(self.weights(x) * x) for x in values if is_inexact(x)]
        total = sum((each.real + each.imag).astype(jnp.float32) for each in sums)

        def mixed(x: Any) -> Any:
            return x + self.weights(x) * jnp.asarray(total, x.dtype) if is_inexact(x) else x

        return [mixed(x) for x in _bind(eqn, [jax.lax.stop_gradient(x) for x in values])]

    def scan(self, eqn: Any, values: list[Any], varies: list[bool]) -> list[Any]:
        params = eqn.params
        fixed, carried = params["num_consts"], params["num_carry"]
        consts, first, xs = values[:fixed], values[fixed:][:carried], values[fixed + carried :]
        flags = varies[:fixed] + [True] * (len(values) - fixed)

        def body(carry: Any, xs_t: Any) -> Any:
            out = self.inner(params["jaxpr"], [*consts, *carry, *xs_t], flags)
            return tuple(out[:carried]), tuple(out[carried:])

        options = {name: params[name] for name in ("length", "reverse")}
        last, ys = jax.lax.scan(body, tuple(first), tuple(xs), **options)
        return [*last, *ys]


def _constant(literal: Any) -> Array:
    return jnp.asarray(literal.val, literal.aval.dtype)


def _indexed(eqn: Any) -> tuple[int, ...]:
    """The axes of the operand along which what is read or written is found by an index."""
    shape, params = eqn.invars[0].aval.shape, eqn.params
    if "scatter" in eqn.primitive.name:
        return params["dimension_numbers"].scatter_dims_to_operand_dims
    indexed = range(len(shape))
    if eqn.primitive.name == "gather":
        indexed = params["dimension_numbers"].start_index_map
    return tuple(d for d in indexed if params["slice_sizes"][d] < shape[d])


def _bind(eqn: Any, values: list[Any]) -> list[Any]:
    found = eqn.primitive.get_bind_params(eqn.params)
    functions, params = found if isinstance(found, tuple) else ((), found)  # newer releases of JAX
    if eqn.primitive.name in ("gather", "scatter", "scatter-add"):
        params = params | {"mode": jax.lax.GatherScatterMode.CLIP}
    out = eqn.primitive.bind(*functions, *values, **params)
    return [*out] if eqn.primitive.multiple_results else [out]
