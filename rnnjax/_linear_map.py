"""A linear map with a transpose of its own: one primitive under every transformation of JAX.

A `custom_vjp` has no forward mode, and a `custom_jvp` transposes whatever its tangents went
through. A rule of `custom_jvp` that returns `linear_map(...)` has both: tangents go through
`apply` (`jvp`, `linearize`, `jacfwd`), cotangents through `transpose` (`vjp`, `grad`), which may be
a hand-derived backward pass or a compiled kernel. `vmap` maps either; a derivative along the
residuals, as in `grad` of a `jvp`, is that of `apply`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero, zero_from_primal
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from rnnjax._checks import is_inexact
from rnnjax._types import PyTree


class Saved(int):
    """An axis of what may be without a batch, if a `vmap` leaves it alone: one number a step."""


def linear_map(
    apply: Callable[[Any, Any], Any],
    transpose: Callable[[Any, Any], Any],
    residuals: PyTree,
    tangents: PyTree,
    out: PyTree,
    *,
    symbolic_zeros: bool = False,
    axes: tuple[PyTree, PyTree, PyTree] | None = None,
) -> PyTree:
    """The tangents of `out`, which `apply(residuals, tangents)` returns.

    Args:
      apply: linear in the tangents.
      transpose: `transpose(residuals, cotangents of out)` returns the cotangents of `tangents`.
        None stands for what has none, integers and PRNG keys, and in what it returns for zero.
      residuals: what both read, arrays only.
      tangents: as the rule of a `custom_jvp` with symbolic_zeros=True is given them.
      out: the outputs whose tangents these are.
      symbolic_zeros: whether None stands for the cotangents that are zero too, which are then
        never made.
      axes: of `residuals`, `tangents` and `out`, as tree prefixes, where an array may have one more
        batch axis, and None for those without a batch, such as weights; None for all if
        `transpose` does not take it. A `vmap` of nothing but the batch is then passed to
        `transpose` as a batch axis, which sums over it as over the others, instead of being mapped
        over and summed afterwards.
    """
    held, held_tree = jax.tree.flatten(residuals)
    given, given_tree = jax.tree.flatten(tangents)
    outs, out_tree = jax.tree.flatten(out)
    moving = [i for i, x in enumerate(given) if not isinstance(x, SymbolicZero)]
    still = {i: x for i, x in enumerate(given) if isinstance(x, SymbolicZero)}
    kept = [i for i, x in enumerate(outs) if is_inexact(x)]
    count = len(held)  # no array of the trace that is open here gets into the two functions below
    none = {
        i: zero_from_primal(x, symbolic_zeros=True) for i, x in enumerate(outs) if i not in kept
    }

    def flat_apply(*operands: Any) -> list[Any]:
        read = jax.tree.unflatten(held_tree, operands[:count])
        moved = _filled(given_tree, _zeros(still), moving, operands[count:])
        made = jax.tree.leaves(apply(read, moved))
        return [made[i] for i in kept]

    def flat_transpose(*operands: Any) -> list[Any]:
        read = jax.tree.unflatten(held_tree, operands[:count])
        cts = _filled(out_tree, dict.fromkeys(none), kept, operands[count:])
        made = _leaves_with_none(given_tree, transpose(read, cts))
        return [made[i] for i in moving]

    spread = None
    if axes is not None:
        trees = (held_tree, given_tree, out_tree)
        each = [_axes_of_leaves(*pair) for pair in zip(trees, axes, strict=True)]
        spread = (*each[0], *(each[1][i] for i in moving)), tuple(each[2][i] for i in kept)
    made = _linear_map.bind(
        *held,
        *(given[i] for i in moving),
        apply=flat_apply,
        transpose=flat_transpose,
        count=count,
        outs=tuple(jax.typeof(outs[i]) for i in kept),
        symbolic_zeros=symbolic_zeros,
        axes=spread,
    )
    return _filled(out_tree, none, kept, made)


def _zeros(symbolic: dict[int, Any]) -> dict[int, Any]:
    """Arrays of zeros; of float0 for integers and PRNG keys."""
    float0 = jax.dtypes.float0
    return {
        i: np.zeros(x.shape, float0) if x.dtype == float0 else ad.instantiate_zeros(ad.Zero(x.aval))
        for i, x in symbolic.items()
    }


def _filled(tree: Any, rest: dict[int, Any], places: Sequence[int], leaves: Sequence[Any]) -> Any:
    """The tree with these leaves at these places, and the rest elsewhere."""
    at = {**rest, **dict(zip(places, leaves, strict=True))}
    return jax.tree.unflatten(tree, [at[i] for i in range(len(at))])


def _leaves_with_none(tree: Any, prefix: PyTree) -> list[Any]:
    """The leaves of a tree, of which None may stand for a whole branch."""
    full = jax.tree.unflatten(tree, range(tree.num_leaves))
    filled = jax.tree.map(
        lambda part, below: jax.tree.map(lambda _: None, below) if part is None else part,
        prefix,
        full,
        is_leaf=lambda part: part is None,
    )
    return tree.flatten_up_to(filled)


def _axes_of_leaves(tree: Any, prefix: PyTree) -> list[int | None]:
    """The axis, or None, of each leaf of a tree."""
    full = jax.tree.unflatten(tree, range(tree.num_leaves))
    known = jax.tree.map(lambda a: -1 if a is None else a, prefix, is_leaf=lambda a: a is None)
    return [None if a < 0 else a for a in jax.tree.leaves(jax.tree.broadcast(known, full))]


def _is_batch(x: Any, d: int | None, a: int | None) -> bool:
    """Whether an operand that is mapped along d may have a batch axis at a instead."""
    if a is None:
        return d is None
    return d is not None or not isinstance(a, Saved) or x.ndim <= a


_linear_map: Any = Primitive("rnnjax_linear_map")
_linear_map.multiple_results = True
_linear_map.def_impl(lambda *operands, apply, **_: apply(*operands))
_linear_map.def_abstract_eval(lambda *_, outs, **__: outs)


def _lower(ctx: Any, *values: Any, apply: Callable[..., Any], **_: Any) -> Any:
    return mlir.lower_fun(apply, multiple_results=True)(ctx, *values)


def _jvp(operands: Any, tangents: Any, **params: Any) -> Any:
    apply, count = params["apply"], params["count"]
    out = _linear_map.bind(*operands, **params)
    held, moved = operands[:count], operands[count:]
    out_tangents = tangents_by(lambda *held: apply(*held, *moved), held, tangents[:count], out)
    if not all(map(_is_zero, tangents[count:])):
        along = _linear_map.bind(*held, *map(ad.instantiate_zeros, tangents[count:]), **params)
        out_tangents = [*map(ad.add_tangents, out_tangents, along)]
    return out, out_tangents


def tangents_by(
    function: Callable[..., Any], primals: Any, tangents: Any, out: Sequence[Any]
) -> list[Any]:
    """The tangents of `out` in the rule of a primitive whose derivative is that of `function`."""
    zeros = [ad.Zero(jax.typeof(x).to_tangent_aval()) for x in out]
    places = [i for i, x in enumerate(tangents) if not _is_zero(x)]
    if not places:
        return [*zeros]

    def at(*leaves: Any) -> Any:
        changed = dict(zip(places, leaves, strict=True))
        return function(*(changed.get(i, x) for i, x in enumerate(primals)))

    along = jax.jvp(at, [primals[i] for i in places], [tangents[i] for i in places])[1]
    return [t if is_inexact(x) else zero for x, t, zero in zip(out, along, zeros, strict=True)]


def _transpose(
    cotangents: Any, *operands: Any, transpose: Any, count: int, symbolic_zeros: bool, **_: Any
) -> Any:
    cts = [
        None if symbolic_zeros and _is_zero(ct) else ad.instantiate_zeros(ct) for ct in cotangents
    ]
    made = transpose(*operands[:count], *cts)
    return [*[None] * count, *map(_asked_ct, operands[count:], made)]


def _asked_ct(operand: Any, ct: Any) -> Any:
    """The cotangent of an operand that is asked for; None, from a `transpose`, stands for zero."""
    if not ad.is_undefined_primal(operand):
        return None
    return ad.Zero(operand.aval) if ct is None else ct


def _batch(axis: Any, operands: Any, dims: Any, **params: Any) -> Any:
    if all(d is None for d in dims):  # JAX asks all the same, as in `jacfwd`
        made = _linear_map.bind(*operands, **params)
        return made, [None] * len(made)
    axes = params["axes"]
    named = isinstance(axis.name, str | tuple) or axis.spmd_name is not None
    if axes is None or named or axis.explicit_mesh_axis is not None or axis.size == 0:
        return _mapped(axis, operands, dims, **params)
    foldable = all(map(_is_batch, operands, dims, axes[0]))
    return (_folded if foldable else _mapped)(axis, operands, dims, **params)


def _folded(axis: Any, operands: Any, dims: Any, **params: Any) -> Any:
    """The `vmap` of a batch by weights that all share: one more batch axis."""
    every, along = params["axes"]
    within = [
        None if a is None or (d is None and isinstance(a, Saved)) else int(a)
        for d, a in zip(dims, every, strict=True)
    ]

    def place(x: Any, d: int | None, a: int | None) -> Any:
        if a is None:
            return x
        if d is None:
            return jnp.broadcast_to(jnp.expand_dims(x, a), (*x.shape[:a], axis.size, *x.shape[a:]))
        return jnp.moveaxis(x, d, a)

    moved = [place(*each) for each in zip(operands, dims, within, strict=True)]
    apply = jax.vmap(params["apply"], in_axes=within, out_axes=[*along], axis_size=axis.size)
    outs = tuple(
        x.update(shape=(*x.shape[:a], axis.size, *x.shape[a:]))
        for x, a in zip(params["outs"], along, strict=True)
    )
    made = _linear_map.bind(*moved, **{**params, "apply": apply, "outs": outs})
    return made, along


def _mapped(axis: Any, operands: Any, dims: Any, **params: Any) -> Any:
    count = params["count"]
    # A tangent that is not mapped has a cotangent that is: it is spread out here, and summed there.
    moved = [
        jnp.broadcast_to(x, (axis.size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)
        for x, d in zip(operands[count:], dims[count:], strict=True)
    ]

    def mapped(function: Callable[..., Any], linear: int) -> Callable[..., Any]:
        return vmapped(axis, function, (*dims[:count], *[0] * linear))

    outs = stacked_types(axis, params["outs"])
    made = _linear_map.bind(
        *operands[:count],
        *moved,
        apply=mapped(params["apply"], len(moved)),
        transpose=mapped(params["transpose"], len(outs)),
        count=count,
        outs=outs,
        symbolic_zeros=params["symbolic_zeros"],
        axes=None,
    )
    return made, [0] * len(made)


def vmapped(axis: Any, function: Callable[..., Any], in_axes: Any) -> Callable[..., Any]:
    """`function` under the `vmap` that the batching rule of a primitive is called for."""
    return jax.vmap(
        function,
        in_axes=in_axes,
        axis_name=axis.name,
        axis_size=axis.size,
        spmd_axis_name=axis.spmd_name,
    )


def stacked_types(axis: Any, avals: Sequence[Any]) -> tuple[Any, ...]:
    """The types of arrays of these types, stacked along the axis of that `vmap`."""
    stack = jax.make_jaxpr(lambda *xs: [jnp.broadcast_to(x, (axis.size, *x.shape)) for x in xs])
    return tuple(stack(*avals).out_avals)


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, ad.Zero)


mlir.register_lowering(_linear_map, _lower)
ad.primitive_jvps[_linear_map] = _jvp
ad.primitive_transposes[_linear_map] = _transpose
batching.fancy_primitive_batchers[_linear_map] = _batch
